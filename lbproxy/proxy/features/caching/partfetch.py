"""DATA. A fetch of a part of a response, as a client has asked for it with ``Range``."""

from __future__ import annotations

from lbproxy.proxy.features.caching.fetch import Fetch
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["PartFetch"]


class PartFetch(Fetch):
    """See the module.  Nobody joins it.  A server that answers with 200 sends the whole response,
    which is stored as such."""

    @property
    def ranged(self) -> bool:
        """See :class:`Fetch`."""
        return True

    def _traffic(self, original: HTTPTraffic) -> HTTPTraffic:
        made = super()._traffic(original)
        for value in self._request.header_values(b"range"):
            made.request.add_header(b"Range", value)
        return made
