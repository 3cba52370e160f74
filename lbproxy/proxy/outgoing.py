"""DATA. The PROXY protocol header that reports the client to a server."""

from __future__ import annotations

from lbproxy.net.proxyproto import encode_v1, encode_v2
from lbproxy.proxy.http.streams import ConnectionInfo

__all__ = ["outgoing_header"]

_ALPN, _AUTHORITY = 0x01, 0x02


def outgoing_header(version: str, info: ConnectionInfo) -> bytes:
    """Return a ``v1`` or ``v2`` header for the client of ``info``. v2 also contains the server name
    and ALPN of its TLS.
    """
    source = (info.client_ip, info.client_port)
    destination = (info.local_ip, info.local_port)
    if version == "v1":
        return encode_v1(source, destination)
    tlvs: list[tuple[int, bytes]] = []
    alpn = info.tls.alpn if info.tls is not None else ""
    if alpn:
        tlvs.append((_ALPN, alpn.encode("latin-1")))
    if info.sni:
        tlvs.append((_AUTHORITY, info.sni.encode("latin-1")))
    return encode_v2(source, destination, tuple(tlvs))
