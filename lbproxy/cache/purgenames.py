"""PURE. Names by which a store that several nodes share finds purged responses.

Responses and purges have names. A purge affects the responses that share a name with it, and those
whose URL begins with its prefix. The store therefore compares digests of one size, once per name of
a response, and needs no index of its contents. :meth:`Purge.names` is authoritative; a test
compares both.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from lbproxy.cache.catalog import origin_of, path_group
from lbproxy.cache.key import public_host
from lbproxy.cache.purge import Named, Purge, host_of

__all__ = ["NAME_SIZE", "names_in", "names_of", "prefix_of"]

NAME_SIZE: Final = 16
"""Length of a name in bytes."""

_SCHEMES: Final = (b"http", b"https")


def names_of(stored: Named) -> list[bytes]:
    """Return the names of a response, in a fixed order."""
    url = stored.url
    scheme = url.partition(b"://")[0]
    found = [_name(b"all", b""), _name(b"url", url), _name(b"host", scheme + b" " + host_of(url))]
    path = url.partition(b"?")[0]
    if path_group(url) in stored.groups:
        found.append(_name(b"path", path))
    found += [_name(b"tag", tag) for tag in sorted(stored.tags)]
    origin = origin_of(url)
    return found + [_name(b"group", origin + b" " + group) for group in sorted(stored.groups)]


def names_in(purge: Purge) -> list[bytes]:
    """Return the names that a purge affects; none for a prefix, see :func:`prefix_of`."""
    value = purge.value
    if purge.kind == "prefix":
        return []
    if purge.kind == "url":
        return [_name(b"url", value), _name(b"path", value.partition(b"?")[0])]
    if purge.kind == "host":
        host = value.lower()
        return [_name(b"host", one + b" " + public_host(one, host)) for one in _SCHEMES]
    return [_name(purge.kind.encode(), value if purge.kind != "all" else b"")]


def prefix_of(purge: Purge) -> bytes | None:
    """Return the beginning of the URLs that a purge affects, None for other kinds."""
    return purge.value if purge.kind == "prefix" else None


def _name(kind: bytes, value: bytes) -> bytes:
    return blake2b(kind + b"\0" + value, digest_size=NAME_SIZE).digest()
