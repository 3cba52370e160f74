"""DATA. The conduct of clients: which traffic counts as an error or as a glitch.

Limits with ``unit = errors``, bans and tracks share these rules.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.error import ConnectionLost

from lbproxy.errors import Kind

__all__ = ["SLOW_BODY", "is_error", "is_glitch", "is_handshake"]

SLOW_BODY: Final = "the body came more slowly than min_body_rate"
"""The detail of the close reason of such a request."""

_GLITCHES: Final = frozenset(
    {
        Kind.BAD_REQUEST,
        Kind.HEADERS_TOO_LARGE,
        Kind.URL_TOO_LONG,
        Kind.BODY_TOO_LARGE,
        Kind.EXPECTATION_FAILED,
        Kind.UNSUPPORTED,
        Kind.CLIENT_TIMEOUT,
        Kind.CLIENT_TLS,
        Kind.BAD_PREAMBLE,
    }
)
_UNCOUNTED: Final = (Kind.BANNED, Kind.CHALLENGED)
_RESET: Final = str(ConnectionLost())


def is_error(traffic: Any, upto: int = 600) -> bool:
    """Return whether a response of 400 and above, but below ``upto``, counts as an error.

    A request for a login or a pause does not count: a 401 to a request without credentials is the
    ordinary first step of a login. Neither does the refusal of a banned client, a challenge page,
    or a prefetch, which a page causes and not its client.
    """
    status = traffic.status
    if traffic.info.own:
        return False
    if not 400 <= status < upto or status == 429 or traffic.close in _UNCOUNTED:
        return False
    return status != 401 or traffic.request.header(b"authorization") is not None


def is_glitch(kind: Kind, detail: str = "") -> bool:
    """Return whether an end of this kind is a protocol violation, a body that arrived too slowly,
    or a reset in the middle of a request.
    """
    if kind is Kind.CLIENT_SLOW:
        return detail == SLOW_BODY
    return kind in _GLITCHES or (kind is Kind.CLIENT_GONE and detail.startswith(_RESET))


def is_handshake(kind: Kind) -> bool:
    """Return whether a connection without a request ended by a failed handshake."""
    return kind is Kind.CLIENT_TLS or kind is Kind.BAD_PREAMBLE or kind is Kind.CLIENT_TIMEOUT
