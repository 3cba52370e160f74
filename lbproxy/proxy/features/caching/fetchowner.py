"""DATA. The interface of the source to which the readers of a fetch belong."""

from __future__ import annotations

from typing import Any, Protocol

from lbproxy.cache.memory import Entry
from lbproxy.cache.stored import Stored
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["Serving"]


class Serving(Protocol):
    """See :class:`~lbproxy.proxy.features.caching.source.CacheSource`."""

    cache: Any

    @property
    def wait(self) -> float: ...

    def alone(self, sink: Asking) -> SourceStream:
        """Answer a request from the store or by a separate fetch."""

    def anew(self, sink: Asking) -> SourceStream:
        """Answer a request whose stored response was removed because it was outdated."""

    def pass_by(self, sink: Asking) -> SourceStream:
        """Send the request to a server, bypassing the store."""

    def serve_validated(
        self, sink: Asking, entry: Entry, stored: Stored, status: int, shared: bool
    ) -> SourceStream:
        """Answer with a stored response that the server has validated.

        ``shared``: it is stored again.
        """

    def serve_stale(self, sink: Asking, entry: Entry, why: str) -> SourceStream:
        """Answer with a stored response because the server failed."""
