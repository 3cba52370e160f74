"""PURE. Links of a stored page that the cache may fetch before browsers request them (RFC 8288)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin

from lbproxy.cache.hints import links
from lbproxy.cache.key import normal_prefix
from lbproxy.cache.memory import origin_of
from lbproxy.cache.stored import Stored

__all__ = ["MOST_LINKS", "prefetch_targets"]

MOST_LINKS: Final = 20
"""Maximum number of links of one page that are fetched."""

LONGEST: Final = 2048
"""Maximum length of a target in bytes."""

_RELATIONS: Final = frozenset({b"preload", b"modulepreload", b"prefetch"})
_PAGES: Final = frozenset({b"text/html", b"application/xhtml+xml"})


def prefetch_targets(stored: Stored) -> list[bytes]:
    """Return the targets of the links of an HTML page that a browser would fetch from its origin.

    Links to other origins, to the page itself and with an ``anchor`` are excluded.
    """
    media = (stored.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if stored.status != 200 or media not in _PAGES:
        return []
    origin = origin_of(stored.url)
    found: dict[bytes, None] = {}
    for link, relations in links(stored.header_values(b"link")):
        if not relations & _RELATIONS or b"anchor" in link.partition(b">")[2].lower():
            continue
        url = _resolved(stored.url, link[1 : link.index(b">")])
        if url is None or origin_of(url) != origin or url == stored.url:
            continue
        target = url[len(origin) :]
        if len(target) <= LONGEST:
            found[target] = None
        if len(found) == MOST_LINKS:
            break
    return list(found)


def _resolved(base: bytes, reference: bytes) -> bytes | None:
    """Return ``reference`` as a complete URL without its fragment; None if it is invalid."""
    if not all(0x21 <= byte <= 0x7E and byte not in b'\\"<>' for byte in reference):
        return None
    try:
        url = urljoin(base.decode("latin-1"), reference.decode("ascii")).partition("#")[0]
    except ValueError:
        return None
    return normal_prefix(url.encode("latin-1"), b"/")
