"""DATA. Properties of an OpenSSL connection."""

from __future__ import annotations

from typing import Any

from lbproxy.tls.parameters import TLSInfo

__all__ = ["tls_info"]


def tls_info(connection: Any) -> TLSInfo:
    """Return the result of a finished handshake."""
    return TLSInfo(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        alpn=connection.get_alpn_proto_negotiated().decode("latin-1"),
        sni=(connection.get_servername() or b"").decode("latin-1").lower(),
    )
