"""DATA. The data about an accepted connection before its protocol starts."""

from __future__ import annotations

from typing import Any

from lbproxy.net.transport import FastTransport
from lbproxy.observe.record import Connection

__all__ = ["ConnectionInfo", "note_local", "plain_ip"]


def plain_ip(ip: str) -> str:
    """An IPv4 address of a dual-stack socket without its IPv6 dress."""
    return ip[7:] if ip.startswith("::ffff:") and "." in ip else ip


class ConnectionInfo(Connection):
    """Facts about one accepted connection, settled before its protocol starts.

    ``peer_ip``/``peer_port``: the socket's other end ("" and 0 for a Unix socket).
    ``client_ip``/``client_port``: the same, or what a trusted PROXY header said.
    ``local_ip``/``local_port``: the address the client aimed at. ``tls``
    (:class:`lbproxy.net.endpoints.TLSInfo`): None in the clear. ``sni``/``alpn``: from the
    handshake, or from the ClientHello that was looked at. ``counted_as``: the address the
    connection limits hold it under; None when they do not. ``tlvs``: of a PROXY v2 header.
    ``listener``: as written in the configuration. ``connected``: when, in reactor time. ``bound``:
    the server connections that belong to it (:class:`~lbproxy.proxy.http.bound.BoundConnections`);
    None while there are none. ``release``: gives back its places in limits of connections; None
    while it has none. ``served``: a backend with ``reuse = safe`` has answered a request of
    it. ``own``: there is no connection, the request is one of lbproxy's own for this client.
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
    """Fill in the address the client connected to, unless a PROXY header has named it."""
    if info.local_port:
        return
    if isinstance(transport, FastTransport):
        info.local_ip, info.local_port = transport.local()
    else:
        host = transport.getHost()
        info.local_ip = plain_ip(getattr(host, "host", ""))
        info.local_port = getattr(host, "port", 0)
