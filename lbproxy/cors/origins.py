"""PURE. Allowed origins, and responses to preflights (Fetch standard, section 3.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from attrs import frozen

from lbproxy.http.syntax import is_token

__all__ = [
    "MAX_AGE_S",
    "AccessRules",
    "Preflight",
    "checked_origin",
    "preflight_fields",
    "preflight_of",
]

MAX_AGE_S: Final = 600
"""Seconds for which a browser may cache the response to a preflight."""

_ORIGIN: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?"
)
_DEFAULT_PORTS: Final = (("http://", ":80"), ("https://", ":443"))
_HEADERS_MAX: Final = 4096

Header = Callable[[bytes], bytes | None]
Fields = list[tuple[bytes, bytes]]


def checked_origin(text: str) -> str:
    """Return an origin of the configuration as browsers write it. Raises ValueError if it is
    invalid.

    ``null`` is the origin of sandboxed pages and files.
    """
    origin = text.lower()
    if origin == "null":
        return origin
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{text!r} is not an origin; write https://host or https://host:port")
    for scheme, port in _DEFAULT_PORTS:
        if origin.startswith(scheme):
            return origin.removesuffix(port)
    return origin


class AccessRules:
    """The rules of access. ``origins``: as :func:`checked_origin` returns them. ``keys``: a key is
    required.

    The rules combine. Origins alone refuse other origins and requests without Origin. With keys, a
    request without Origin needs only its key, because it comes from no page. Without either, all
    requests are allowed.
    """

    def __init__(self, origins: Iterable[str] = (), *, keys: bool = False) -> None:
        self._origins = frozenset(origins)
        self._keys = keys

    def allows_origin(self, origin: str | None) -> bool:
        """Return whether a request with this ``Origin`` may continue. Origins are compared as a
        whole.
        """
        if not self._origins:
            return True
        return self._keys if origin is None else origin in self._origins

    @property
    def needs_key(self) -> bool:
        """True if a request other than a preflight needs a key."""
        return self._keys


@frozen
class Preflight:
    """A browser's preflight for a request: its origin, method and header names."""

    origin: bytes
    method: bytes
    headers: bytes | None


def preflight_of(method: bytes, header: Header) -> Preflight | None:
    """Return the preflight in a request, None for any other request.

    ``header(name)`` returns the first value of a request header, or None. Raises ValueError for a
    preflight without a valid method or list of names.
    """
    origin, wanted = header(b"origin"), header(b"access-control-request-method")
    if method != b"OPTIONS" or origin is None or wanted is None:
        return None
    names = header(b"access-control-request-headers")
    if not is_token(wanted):
        raise ValueError("Access-Control-Request-Method is not a method")
    if names is not None and not _is_list(names):
        raise ValueError("Access-Control-Request-Headers is not a list of header names")
    return Preflight(origin, wanted, names)


def _is_list(names: bytes) -> bool:
    if len(names) > _HEADERS_MAX:
        return False
    return all(not one.strip() or is_token(one.strip()) for one in names.split(b","))


def preflight_fields(asked: Preflight, *, credentials: bool) -> Fields:
    """Return the fields of the 204 that allows ``asked``; Private-Network is never allowed."""
    fields = [
        (b"Access-Control-Allow-Origin", asked.origin),
        (b"Access-Control-Allow-Methods", asked.method),
        (b"Access-Control-Max-Age", b"%d" % MAX_AGE_S),
        (b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    if asked.headers is not None:
        fields.append((b"Access-Control-Allow-Headers", asked.headers))
    if credentials:
        fields.append((b"Access-Control-Allow-Credentials", b"true"))
    return fields
