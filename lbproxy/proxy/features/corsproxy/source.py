"""DATA. The source of a CORS proxy: a target is fetched for each call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbproxy.guard import Guard
from lbproxy.http.message import End, RequestHead
from lbproxy.proxy.features.corsproxy.fetch import TargetFetch
from lbproxy.proxy.features.corsproxy.gate import ASKED
from lbproxy.proxy.features.corsproxy.heads import FetchRules
from lbproxy.proxy.features.corsproxy.lookups import NameLookups
from lbproxy.proxy.features.corsproxy.targets import Targets
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import Source

if TYPE_CHECKING:
    from lbproxy.proxy.http.streams import SourceStream

__all__ = ["CorsSource"]


class CorsSource(Source):
    """Answers calls that have passed the gate."""

    name = "target"

    def __init__(self, reactor: Any, guard: Guard, targets: Targets, rules: FetchRules) -> None:
        self.lookups = NameLookups(reactor)
        self.guard = guard
        self.targets = targets
        self.rules = rules

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        fetch = TargetFetch(self, sink.traffic.vars[ASKED], head, sink)
        fetch.begin(data, end)
        return fetch
