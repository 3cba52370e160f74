"""PURE. Redirects of a target, followed by the rules of browsers (Fetch standard, HTTP-redirect
fetch)."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from attrs import frozen

__all__ = [
    "REDIRECTS_MAX",
    "Step",
    "is_redirect",
    "location_text",
    "original_location",
    "passed_location",
    "redirect_step",
]

REDIRECTS_MAX: Final = 5
"""Maximum number of redirects followed in one call."""

_STATUSES: Final = frozenset((301, 302, 303, 307, 308))


@frozen
class Step:
    """The next request after a redirect: its method, and whether the body is sent again."""

    method: bytes
    body: bool


def is_redirect(status: int) -> bool:
    """Return whether a response of this status with a Location is a redirect."""
    return status in _STATUSES


def location_text(location: bytes) -> str:
    """Return a Location as text: UTF-8, as browsers read it; otherwise each byte is a character."""
    try:
        return location.decode("utf-8")
    except UnicodeDecodeError:
        return location.decode("latin-1")


def redirect_step(status: int, method: bytes) -> Step:
    """Return how a request of ``method`` follows a redirect of ``status``."""
    to_get = (status in (301, 302) and method == b"POST") or (
        status == 303 and method not in (b"GET", b"HEAD")
    )
    return Step(b"GET", False) if to_get else Step(method, True)


def passed_location(url: str) -> bytes:
    """Return the Location for ``redirects = pass``: a call of this proxy for ``url``."""
    return b"/?url=" + quote(url, safe="").encode("ascii")


def original_location(location: bytes) -> bytes:
    """Return the original Location from a :func:`passed_location` of another CORS proxy; else
    ``location``.
    """
    before, mark, url = location.partition(b"/?url=")
    if not mark or before:
        return location
    return unquote(url.decode("latin-1")).encode("utf-8")
