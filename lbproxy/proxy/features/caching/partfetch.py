"""DATA. A fetch of the part of a response that a client requests with ``Range``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbproxy.cache.asked import Asked
from lbproxy.cache.key import Key
from lbproxy.cache.memory import Entry
from lbproxy.proxy.features.caching.fetch import Fetch
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["PartFetch", "part_key"]


def part_key(key: Key, ranges: Sequence[bytes]) -> Key:
    """Return the key by which requests for the same part of a response wait for each other.
    ``ranges``: the lines of ``Range``.
    """
    return (*key, b"range", *ranges)


class PartFetch(Fetch):
    """See the module. Requests with the same ``Range`` join it. If the server answers 200, the
    whole response is stored. ``wanted``: the value of ``Range``, if not that of the client.
    """

    def __init__(
        self,
        cache: Any,
        key: Key,
        url: bytes,
        asked: Asked,
        original: HTTPTraffic,
        entry: Entry | None,
        body: bytes = b"",
        wanted: bytes | None = None,
    ) -> None:
        self._wanted_range = wanted
        super().__init__(cache, key, url, asked, original, entry, body)

    @property
    def ranged(self) -> bool:
        """See :class:`Fetch`."""
        return True

    def _traffic(self, original: HTTPTraffic) -> HTTPTraffic:
        wanted = self._wanted_range
        ranges = self._request.header_values(b"range") if wanted is None else [wanted]
        self.waits = part_key(self.key, ranges)
        made = super()._traffic(original)
        for value in ranges:
            made.request.add_header(b"Range", value)
        return made
