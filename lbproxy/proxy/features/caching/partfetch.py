"""DATA. A fetch of the part of a response that a client requests with ``Range``."""

from __future__ import annotations

from lbproxy.cache.key import Key
from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.caching.fetch import Fetch
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["PartFetch", "part_key"]


def part_key(key: Key, request: RequestHead) -> Key:
    """Return the key by which requests for the same part of a response wait for each other."""
    return (*key, b"range", *request.header_values(b"range"))


class PartFetch(Fetch):
    """See the module. Requests with the same ``Range`` join it. If the server answers 200, the
    whole response is stored.
    """

    @property
    def ranged(self) -> bool:
        """See :class:`Fetch`."""
        return True

    def _traffic(self, original: HTTPTraffic) -> HTTPTraffic:
        self.waits = part_key(self.key, self._request)
        made = super()._traffic(original)
        for value in self._request.header_values(b"range"):
            made.request.add_header(b"Range", value)
        return made
