"""DATA. The source of a CORS proxy: it fetches the target of each call, or queries the cache."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Final

from attrs import define

from lbproxy.cors.keys import KeyRecord
from lbproxy.guard import Guard
from lbproxy.http.message import End, RequestHead
from lbproxy.proxy.features.corsproxy.calls import CallStream
from lbproxy.proxy.features.corsproxy.conversion import Conversions
from lbproxy.proxy.features.corsproxy.fetch import TargetFetch
from lbproxy.proxy.features.corsproxy.gate import ASKED, FETCHED
from lbproxy.proxy.features.corsproxy.heads import FetchRules, cache_traffic
from lbproxy.proxy.features.corsproxy.judge import AllowedCall
from lbproxy.proxy.features.corsproxy.lookups import NameLookups
from lbproxy.proxy.features.corsproxy.quotas import Quotas
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import Source

if TYPE_CHECKING:
    from lbproxy.proxy.http.streams import SourceStream

__all__ = ["CorsParts", "CorsSource", "TargetSource", "Tunnels"]

Tunnels = MutableMapping[CallStream, KeyRecord]
"""The open WebSockets, with their keys."""


@define(eq=False)
class CorsParts:
    """The parts of one CORS proxy that its calls use."""

    lookups: NameLookups
    guard: Guard
    rules: FetchRules
    conversions: Conversions
    quotas: Quotas
    tunnels: Tunnels


class TargetSource(Source):
    """Fetches targets. ``shared``: on behalf of a cache."""

    name = "target"

    def __init__(self, parts: CorsParts, *, shared: bool = False) -> None:
        self._parts = parts
        self._shared = shared

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        notes = sink.traffic.vars
        notes[FETCHED] = True
        fetch = TargetFetch(self._parts, notes[ASKED], head, sink, shared=self._shared)
        fetch.begin(data, end)
        return fetch


class CorsSource(Source):
    """Answers calls that have passed the gate. ``cached``: fetches targets behind a cache."""

    name = "target"

    def __init__(self, parts: CorsParts, cached: Source | None = None) -> None:
        self._parts = parts
        self._cached = cached
        self._targets = TargetSource(parts)

    def cached_by(self, wrap: Callable[[Source], Source]) -> Source:
        """See :class:`Source`. Decisions about the caller are made in front of the cache."""
        return CorsSource(self._parts, wrap(TargetSource(self._parts, shared=True)))

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        asked: AllowedCall = sink.traffic.vars[ASKED]
        if self._cached is None or not _may_share(head, asked):
            cache = "" if self._cached is None else "bypass"
            stream = CallStream(self._parts, asked, head, sink, cache)
            return stream.start(self._targets, head, data, end)
        cache = "used" if head.method in _STORED else "bypass"
        stream = CallStream(self._parts, asked, head, sink, cache)
        stream.traffic = cache_traffic(sink.traffic, head, asked, self._parts.rules)
        return stream.start(self._cached, stream.traffic.request, data, end)


_STORED: Final = (b"GET", b"HEAD", b"POST")


def _may_share(head: RequestHead, asked: AllowedCall) -> bool:
    """Return whether the cache handles a call: not with credentials, and not for WebSockets.

    Methods other than GET also pass the cache, because they invalidate stored responses. The cache
    answers a POST if it has ``post``.
    """
    if head.upgrade is not None or head.header(b"authorization") is not None:
        return False
    if any(name.lower() == "authorization" for name, _ in asked.call.req_headers):
        return False
    return not asked.credentials or head.header(b"cookie") is None
