"""PURE. Changes of one cookie in the Cookie and Set-Cookie lines of a head.

Other cookies stay byte for byte as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lbproxy.http.message import FieldName, Head, RequestHead, field_name

__all__ = [
    "SET_COOKIE",
    "remove_cookie",
    "remove_set_cookie",
    "rewrite_cookie",
    "set_cookies_of",
    "sets_cookie",
]

_COOKIE: Final = field_name(b"cookie")
SET_COOKIE: Final = field_name(b"set-cookie")


def rewrite_cookie(head: Head, cookie: bytes, change: Callable[[bytes], bytes]) -> None:
    """Change every value of a cookie in ``head``.

    Other cookies stay byte for byte as they were.
    """
    found = cookie + b"="
    lines = _with(head, _COOKIE, found)
    if not lines:
        return
    head.remove(_COOKIE)
    for line in lines:
        changed = line
        if line.find(found) >= 0:
            parts = [_changed(part, found, change) for part in line.split(b";")]
            changed = b";".join(parts).strip(b" \t;")
        if changed:
            head.add_header(b"Cookie", changed)


def remove_cookie(head: Head, cookie: bytes) -> None:
    """Remove a cookie from ``head``. Other cookies stay byte for byte as they were.

    A Cookie line without other cookies is removed as well.
    """
    if isinstance(head, RequestHead) and head.drop_cookie(cookie):
        return
    found = cookie + b"="
    lines = _with(head, _COOKIE, found)
    if not lines:
        return
    head.remove(_COOKIE)
    for line in lines:
        left = _without(line, found)
        if left:
            head.add_header(b"Cookie", left)


def _without(line: bytes, found: bytes) -> bytes:
    """Return ``line`` without the pairs that begin with ``found``."""
    if line.find(found) < 0:
        return line
    kept = [part for part in line.split(b";") if not part.lstrip(b" \t").startswith(found)]
    return b";".join(kept).strip(b" \t;")


def _with(head: Head, name: FieldName, text: bytes) -> list[bytes]:
    """Return all values of ``name`` if one of them contains ``text``, else an empty list."""
    lines = head.every(name)
    for line in lines:
        if line.find(text) >= 0:
            return lines
    return []


def set_cookies_of(head: Head, cookie: bytes) -> list[bytes]:
    """Return all values of Set-Cookie if one of them sets this cookie, else an empty list."""
    lines = head.every(SET_COOKIE)
    for line in lines:
        if line.find(cookie) >= 0 and sets_cookie(line, cookie):
            return lines
    return []


def remove_set_cookie(head: Head, cookie: bytes) -> None:
    """Remove the Set-Cookie lines of this cookie."""
    lines = set_cookies_of(head, cookie)
    if lines:
        head.remove(SET_COOKIE)
        for line in lines:
            if not sets_cookie(line, cookie):
                head.add_header(b"Set-Cookie", line)


def _changed(part: bytes, found: bytes, change: Callable[[bytes], bytes]) -> bytes:
    plain = part.lstrip(b" \t")
    if not plain.startswith(found):
        return part
    return part[: len(part) - len(plain)] + found + change(plain[len(found) :])


def sets_cookie(value: bytes, cookie: bytes) -> bool:
    """Return whether the value of a Set-Cookie line sets this cookie."""
    return value.partition(b"=")[0].strip() == cookie
