"""PURE. Normalisation of paths for the comparison with routes."""

from __future__ import annotations

import re
from typing import Final

from mypy_extensions import i64

__all__ = ["normal_path", "normal_pattern"]

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# characters that a path segment may contain unescaped (RFC 3986 §3.3 pchar), except ";", which
# starts a parameter
_PLAIN = frozenset(_UNRESERVED + b"!$&'()*+,:=@")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_RAW: Final = re.compile(rb"[^\x21-\x7e]")
_SLASHES: Final = re.compile(rb"//+")
_HIDDEN_SLASH: Final = re.compile(rb"%2[Ff]|%5[Cc]|\\")
_CUT_DOTS: Final = (b"..;", b"..%3B", b"..%3F", b"..%23", b"..%00")
"""Segments that some servers cut behind the dots, before or after they decode the path."""


def _unescape(match: re.Match[bytes]) -> bytes:
    byte = int(match[1], 16)
    return bytes((byte,)) if byte in _PLAIN else match[0].upper()


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def normal_path(path: bytes) -> bytes | None:
    """Return ``path`` as a server will most likely interpret it, or None if that is ambiguous or
    leaves the root.

    Percent escapes of characters that need none are decoded (once), and the others get upper-case
    digits. Raw bytes outside ASCII are escaped, runs of slashes become one, and dot segments are
    resolved (RFC 3986 §6.2.2, §5.2.4). The result is None for more ``..`` than segments, or for a
    ``..`` that only some servers see: next to ``%2F``, ``%5C`` or a backslash, or with a parameter
    (``..;x``) or ``%3B``, ``%3F``, ``%23`` or ``%00`` behind it.

    Targets that are not paths (``*``, the authority of CONNECT) are returned unchanged.
    """
    if _is_plain(path):
        return path
    if not path.startswith(b"/"):
        return path
    path = _RAW.sub(_escape, _ESCAPE.sub(_unescape, path))
    path = _SLASHES.sub(b"/", path)
    if _ambiguous(path):
        return None
    return _resolve(path) if b"/." in path else path


def _is_plain(path: bytes) -> bool:
    """Return whether ``path`` is ASCII without ``%``, backslash, ``/.`` and ``//``, like most
    paths.
    """
    slash = False
    at: i64 = 0
    end: i64 = len(path)
    while at < end:
        byte: i64 = path[at]
        at += 1
        if byte == 47:  # /
            if slash:
                return False
            slash = True
        elif byte > 127 or byte == 37 or (slash and byte == 46) or byte == 92:  # % .
            return False
        else:
            slash = False
    return True


def _ambiguous(path: bytes) -> bool:
    """Return whether a server that treats ``%2F`` or a backslash as a slash, or cuts parameters or
    what it takes for the end of the path, sees another ``..``.
    """
    if b".." not in path:
        return False
    hidden = _HIDDEN_SLASH.search(path) is not None
    segments = _HIDDEN_SLASH.sub(b"/", path).split(b"/")
    return any(part.startswith(_CUT_DOTS) or (hidden and part == b"..") for part in segments)


def _resolve(path: bytes) -> bytes | None:
    """Return ``path``, which begins with a slash, without its dot segments; None if they leave the
    root.
    """
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for part in segments:
        if part == b"..":
            if not kept:
                return None
            kept.pop()
        elif part != b".":
            kept.append(part)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def normal_pattern(pattern: str) -> bytes:
    """Return a path or glob from a configuration in the spelling of :func:`normal_path`.

    Characters outside ASCII are encoded as UTF-8. Raises ValueError if it can match nothing because
    it is not a normal path.
    """
    raw = pattern.encode("utf-8")
    if b"#" in raw:
        raise ValueError(f"path {pattern!r} can never match: a fragment (#) is not sent to servers")
    if re.search(rb"\?[^?*/=&]+=", raw):
        raise ValueError(
            f"path {pattern!r} can never match a query: paths are compared without it; add 'query "
            "NAME VALUE'"
        )
    normal = normal_path(_RAW.sub(_escape, raw))
    if normal is None or b"/../" in raw + b"/" or b"/./" in raw + b"/" or b"//" in raw:
        raise ValueError(
            f"path {pattern!r} can never match: paths are compared without '..', '.' and '//'"
        )
    return normal
