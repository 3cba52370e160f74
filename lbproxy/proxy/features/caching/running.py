"""DATA. The interface of running fetches for their cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from lbproxy.cache.asked import Asked
from lbproxy.cache.key import Key
from lbproxy.cache.memory import Entry
from lbproxy.cache.stored import Stored
from lbproxy.http.message import ResponseHead
from lbproxy.proxy.features.caching.disk.claims import Claim

if TYPE_CHECKING:
    from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["Running", "RunningT"]


class Running(Protocol):
    """A running fetch: :class:`lbproxy.proxy.features.caching.fetch.Fetch`."""

    key: Key
    own_key: Key
    waits: Key
    url: bytes
    stored: Stored | None
    outdated: bool
    began: float
    entry: Entry | None
    claim: Claim | None
    failure: ResponseHead | None
    asked: Asked
    traffic: HTTPTraffic

    @property
    def personal(self) -> bool: ...
    @property
    def waiters(self) -> int: ...

    def abandon(self) -> None:
        """End if no client waits for the response."""


RunningT = TypeVar("RunningT", bound=Running)
