"""DATA. The attributes of a fetch that decide how its response is handled."""

from __future__ import annotations

from typing import Any, Protocol

from lbproxy.cache.asked import Asked
from lbproxy.cache.key import Key
from lbproxy.cache.stored import Stored

__all__ = ["Judged"]


class Judged(Protocol):
    """See :class:`~lbproxy.proxy.features.caching.fetch.Fetch`."""

    cache: Any
    key: Key
    own_key: Key
    url: bytes
    asked: Asked
    stored: Stored | None
    outdated: bool
    traffic: Any

    @property
    def ranged(self) -> bool: ...
    @property
    def personal(self) -> bool: ...
