"""DATA. A fetch of the part of a response that a client requests with ``Range``."""

from __future__ import annotations

from lbproxy.proxy.features.caching.fetch import Fetch
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["PartFetch"]


class PartFetch(Fetch):
    """See the module. No other request joins it. If the server answers 200, the whole response is
    stored.
    """

    @property
    def ranged(self) -> bool:
        """See :class:`Fetch`."""
        return True

    def _traffic(self, original: HTTPTraffic) -> HTTPTraffic:
        made = super()._traffic(original)
        for value in self._request.header_values(b"range"):
            made.request.add_header(b"Range", value)
        return made
