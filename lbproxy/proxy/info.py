"""DATA. The data about an accepted connection before its protocol starts."""

from __future__ import annotations

from typing import Any

from lbproxy.net.transport import FastTransport
from lbproxy.observe.record import Connection

__all__ = ["ConnectionInfo", "note_local", "plain_ip"]


def plain_ip(ip: str) -> str:
    """Return an IPv4-mapped address of a dual-stack socket as IPv4."""
    return ip[7:] if ip.startswith("::ffff:") and "." in ip else ip


class ConnectionInfo(Connection):
    """Facts about one accepted connection, known before its protocol starts.

    ``peer_ip``/``peer_port``: the socket's peer ("" and 0 for a Unix socket).
    ``client_ip``/``client_port``: the same, or the client in a trusted PROXY header.
    ``local_ip``/``local_port``: the address that the client connected to. ``tls``
    (:class:`lbproxy.net.endpoints.TLSInfo`): None without TLS. ``sni``/``alpn``: from the
    handshake, or from the parsed ClientHello. ``counted_as``: the address under which the
    connection limits count it; None if they do not. ``tlvs``: of a PROXY v2 header. ``listener``:
    as written in the configuration. ``connected``: time of the accept, in reactor time. ``bound``:
    the server connections that belong to it (:class:`~lbproxy.proxy.http.bound.BoundConnections`);
    None without any. ``release``: releases its places in limits of connections; None without any.
    ``served``: a backend with ``reuse = safe`` has answered one of its requests. ``own``: there is
    no connection; lbproxy sends the request itself for this client.
    """

    __slots__ = (
        "alpn",
        "bound",
        "connected",
        "counted_as",
        "own",
        "release",
        "served",
        "tlvs",
    )

    def __init__(
        self,
        peer_ip: str = "",
        peer_port: int = 0,
        client_ip: str = "",
        client_port: int = 0,
        local_ip: str = "",
        local_port: int = 0,
        tls: Any = None,
        sni: str = "",
        alpn: tuple[str, ...] = (),
        tlvs: tuple[tuple[int, bytes], ...] = (),
        listener: str = "",
        connected: float = 0.0,
    ) -> None:
        super().__init__()
        self.peer_ip = peer_ip
        self.peer_port = peer_port
        self.client_ip = client_ip
        self.client_port = client_port
        self.local_ip = local_ip
        self.local_port = local_port
        self.tls = tls
        self.sni = sni
        self.alpn = alpn
        self.tlvs = tlvs
        self.listener = listener
        self.connected = connected
        self.counted_as: str | None = None
        self.bound: Any = None
        self.release: Any = None
        self.served = False
        self.own = False


def note_local(info: ConnectionInfo, transport: Any) -> None:
    """Set the address that the client connected to, unless a PROXY header has reported it."""
    if info.local_port:
        return
    if isinstance(transport, FastTransport):
        info.local_ip, info.local_port = transport.local()
    else:
        host = transport.getHost()
        info.local_ip = plain_ip(getattr(host, "host", ""))
        info.local_port = getattr(host, "port", 0)
