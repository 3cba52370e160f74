"""DATA. Errors of OpenSSL in plain words, for logs and error messages."""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL, crypto

__all__ = ["GONE", "chain_words", "openssl_words", "speaks_http", "tls_error_text"]

GONE: Final = "the peer closed the connection during the handshake"

_HTTP: Final = "http request"
# reasons of OpenSSL (openssl/sslerr.h), in lower case, that are not clear enough
_REASONS: Final = {
    _HTTP: "the peer speaks plain HTTP, not TLS",
    "https proxy request": "the peer speaks plain HTTP (CONNECT), not TLS",
    "wrong version number": "the peer does not speak TLS, or only another version",
    "packet length too long": "the peer does not speak TLS",
    "unsupported protocol": "no TLS version in common",
    "version too low": "no TLS version in common",
    "no shared cipher": "no cipher in common",
    "no suitable signature algorithm": "no signature algorithm in common for the certificate's key",
    "no suitable key share": "no key exchange group in common",
    "no shared groups": "no key exchange group in common",
    "no application protocol": "no application protocol (ALPN) in common",
    "peer did not return a certificate": "the client sent no certificate",
    "certificate verify failed": "the peer's certificate is not trusted",
    "ca md too weak": "the certificate is signed with too weak a hash",
    "ee key too small": "the certificate's key is too small",
}

# X509_V_ERR_*, openssl/x509_vfy.h
_CHAIN: Final = {
    2: "issuer unknown",
    7: "bad signature",
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "self-signed certificate not trusted",
    19: "self-signed authority not trusted",
    20: "issuer unknown",
    21: "issuer unknown",
    23: "certificate revoked",
    24: "issuer is not an authority",
    26: "certificate is not for servers",
}


def chain_words(code: int) -> str:
    """Return why OpenSSL rejects a chain, by its error code."""
    return _CHAIN.get(code, f"verification error {code}")


def _reasons(error: BaseException) -> list[str]:
    """Return OpenSSL's reasons, the cause first; empty if it gave none."""
    queue: Any = error.args[0] if error.args else None
    if not isinstance(queue, list):
        return []
    return [str(entry[-1]) for entry in queue if entry and entry[-1]]


def openssl_words(error: BaseException) -> str:
    """Return the cause in an error of pyOpenSSL."""
    if not isinstance(error, SSL.Error | crypto.Error):
        return str(error)
    found = _reasons(error)
    if not found:
        return "TLS error"
    for reason in found:
        words = _REASONS.get(reason.lower())
        if words is not None:
            return words
    return _alert(found[0]) or found[0]


def _alert(reason: str) -> str:
    """Return the alert that the peer sent, such as "bad certificate" or "unknown ca"; "" for other
    reasons.
    """
    _, found, alert = reason.partition(" alert ")
    return f"the peer refused: {alert}" if found else ""


def speaks_http(error: BaseException | None) -> bool:
    """Return whether a handshake failed because the peer speaks plain HTTP."""
    return isinstance(error, SSL.Error) and any(r.lower() == _HTTP for r in _reasons(error))


def tls_error_text(error: BaseException) -> str:
    """Return why a handshake or a connection ended, including a plain disconnect."""
    if isinstance(error, SSL.SysCallError) or not isinstance(error, SSL.Error):
        return GONE
    found = _reasons(error)
    if not found or found[-1].lower().startswith("unexpected eof"):
        return GONE
    return openssl_words(error)
