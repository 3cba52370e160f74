"""PURE. Links of responses that a browser may follow before the response arrives (RFC 8297)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from lbproxy.cache.purge import Purge
from lbproxy.cache.stored import Stored
from lbproxy.cache.targeted import Fields
from lbproxy.cache.vary import Selected, selected_by

__all__ = ["Hints", "early_links", "links", "takes_hints"]

MOST_RESPONSES: Final = 2000
"""Maximum number of responses whose links are stored."""

MOST_LINKS: Final = 20
"""Maximum number of links stored for one response."""

LONGEST: Final = 2048
"""Maximum total length of these links in bytes."""

_PARAMETER: Final = rb'\s*;\s*([a-zA-Z0-9*_-]+)(?:\s*=\s*([^\s",;]+|"(?:[^"\\]|\\.)*"))?'
_PARAMETERS: Final = re.compile(_PARAMETER)
_LINK: Final = re.compile(rb'\s*(<[^<>"\s]*>(?:%b)*)\s*(?:,|$)' % _PARAMETER)
_EARLY: Final = frozenset({b"preload", b"preconnect", b"modulepreload", b"dns-prefetch"})


def links(values: Iterable[bytes]) -> Iterator[tuple[bytes, frozenset[bytes]]]:
    """Yield the links of Link fields (RFC 8288), each with its relations in lower case.

    A malformed link ends its field, because the start of the next link is unknown."""
    for value in values:
        at = 0
        while (found := _LINK.match(value, at)) is not None and found.end() > at:
            at = found.end()
            yield found[1], _relations(found[1])


def _relations(link: bytes) -> frozenset[bytes]:
    """Return the words of the first ``rel`` of a link, in lower case (RFC 8288 §3.3)."""
    start = link.index(b">") + 1
    for name, value in _PARAMETERS.findall(link, start):
        if name.lower() == b"rel":
            return frozenset(value.strip(b'"').lower().split())
    return frozenset()


def early_links(head: Fields) -> tuple[bytes, ...]:
    """Return the links of a response that browsers use in a 103, within the bounds."""
    kept: list[bytes] = []
    size = 0
    for link, relations in links(head.header_values(b"link")):
        size += len(link)
        if size > LONGEST or len(kept) == MOST_LINKS:
            break
        if relations & _EARLY:
            kept.append(link)
    return tuple(kept)


def takes_hints(head: Fields, version: int) -> bool:
    """Return whether a client supports 103: it uses HTTP/1.1 and navigates to the page.

    Other clients may mistake the 103 for the response (RFC 8297 §3). Browsers send the field with
    each request, and use hints only for navigations.
    """
    return version >= 11 and head.header_values(b"sec-fetch-mode") == [b"navigate"]


@frozen
class _Known:
    """The links of a response, its URL, and the fields of requests that select it."""

    url: bytes
    selected: Selected
    links: tuple[bytes, ...]


class Hints:
    """The links of the most recently stored responses, by the digest of the key of their requests.
    Only clients that could have got the response get its links.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, key: bytes, stored: Stored) -> None:
        """Store the links of a stored response."""
        found = early_links(stored)
        self._known.pop(key, None)
        size = len(stored.url) + sum(len(chosen or b"") for _, chosen in stored.selected)
        if found and size <= LONGEST:
            self._known[key] = _Known(stored.url, stored.selected, found)
            if len(self._known) > MOST_RESPONSES:
                self._known.popitem(last=False)

    def of(self, key: bytes, request: Fields) -> tuple[bytes, ...]:
        """Return the links of the last response of ``key`` if ``request`` selects it."""
        known = self._known.get(key)
        if known is None:
            return ()
        asked = selected_by((name for name, _ in known.selected), request)
        return known.links if asked == known.selected else ()

    def purged(self, wanted: Purge) -> None:
        """Drop the responses that a purge may affect."""
        url = wanted.value if wanted.kind == "url" else None
        for key, known in list(self._known.items()):
            if known.url == url if url is not None else wanted.may_name(known.url):
                del self._known[key]
