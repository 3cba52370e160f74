"""DATA. What an OpenSSL connection says about itself, in words for logs and access records."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from lbproxy.tls.parameters import TLSInfo

__all__ = ["tls_error_text", "tls_info"]


def tls_info(connection: Any) -> TLSInfo:
    """What a finished handshake settled."""
    return TLSInfo(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        alpn=connection.get_alpn_proto_negotiated().decode("latin-1"),
        sni=(connection.get_servername() or b"").decode("latin-1").lower(),
    )


def tls_error_text(error: BaseException) -> str:
    """OpenSSL's own reason, such as "no shared cipher"; a peer that only went away is said so."""
    if isinstance(error, SSL.SysCallError) or not isinstance(error, SSL.Error):
        return "the peer left during the handshake"
    queue = error.args[0] if error.args else None
    if not queue:
        return "the peer left during the handshake"
    reason: str = queue[-1][-1]
    if reason.lower().startswith("unexpected eof"):
        return "the peer left during the handshake"
    return reason or "TLS error"
