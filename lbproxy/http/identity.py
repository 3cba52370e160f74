"""PURE. Detects credentials that authenticate a connection rather than a request.

NTLM, and Negotiate and Kerberos as most servers implement them (RFC 4559 §6), authenticate the TCP
connection: a later request on it needs no credentials, whoever sends it. A server connection with
such credentials must therefore serve only one client connection.
"""

from __future__ import annotations

from typing import Final

from lbproxy.http.head import RequestHead, ResponseHead
from lbproxy.http.known import AUTHORIZATION, field_name

__all__ = ["authenticates_connection", "challenges_connection"]

_SCHEMES: Final = frozenset((b"ntlm", b"negotiate", b"kerberos"))
_AUTHORIZATION: Final = field_name(b"authorization")
_WWW_AUTHENTICATE: Final = field_name(b"www-authenticate")
_PROXY_AUTHENTICATE: Final = field_name(b"proxy-authenticate")


def authenticates_connection(head: RequestHead) -> bool:
    """Return whether the credentials of a request authenticate its connection."""
    if not head.listed and head.added is None and not head.present >> AUTHORIZATION & 1:
        return False
    value = head.first(_AUTHORIZATION)
    return value is not None and _scheme(value) in _SCHEMES


def challenges_connection(head: ResponseHead) -> bool:
    """Return whether a 401 or 407 requests credentials for the connection."""
    name = _WWW_AUTHENTICATE if head.status == 401 else _PROXY_AUTHENTICATE
    for value in head.every(name):
        for challenge in value.split(b","):
            if _scheme(challenge) in _SCHEMES:
                return True
    return False


def _scheme(value: bytes) -> bytes:
    """Return the first word in lower case."""
    return value.strip().partition(b" ")[0].lower()
