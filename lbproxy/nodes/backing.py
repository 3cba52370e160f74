"""CONTROL. Limits, leases and values in Redis; see :class:`lbproxy.sharing.local.Backing`."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import ceil
from typing import Any

from twisted.internet.defer import Deferred

from lbproxy.limits.rate import Rate
from lbproxy.net.redis import RedisClient, RedisDown, RedisRefused
from lbproxy.nodes.scripts import LEASE, RELEASE, TAKE
from lbproxy.sharing.contracts import SharedStateError

__all__ = ["RedisBacking"]


class RedisBacking:
    """Limits, leases and values in Redis. ``node``: the name of this node, the holder of its
    leases.
    """

    def __init__(self, client: RedisClient, prefix: str, node: str) -> None:
        self._client = client
        self._prefix = prefix
        self._node = node

    async def take(self, key: str, cost: float, rate: Rate) -> float:
        """See Replicated."""
        if cost < 0 or cost > rate.burst:
            raise ValueError(f"a cost of {cost:g} is not between 0 and the burst, {rate.burst:g}")
        words = (repr(rate.each), repr(rate.burst), repr(cost))
        found = await _asked(lambda: self._client.run(TAKE, [self._key("take", key)], words))
        return float(found) / 1e6

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """See Replicated."""
        words = (f"{self._node}/{holder}", max(1, ceil(seconds * 1000)))
        key = self._key("lease", name)
        return bool(await _asked(lambda: self._client.run(LEASE, [key], words)))

    async def release(self, name: str, holder: str) -> None:
        """See Replicated."""
        key = self._key("lease", name)
        await _asked(lambda: self._client.run(RELEASE, [key], [f"{self._node}/{holder}"]))

    async def get(self, key: str) -> Any:
        """See Replicated."""
        found = await _asked(lambda: self._client.call("GET", self._key("value", key)))
        return None if found is None else json.loads(found)

    async def put(self, key: str, value: Any, seconds: float = 0.0) -> None:
        """See Replicated."""
        name = self._key("value", key)
        if value is None:
            await _asked(lambda: self._client.call("DEL", name))
            return
        expiry = ("PX", max(1, ceil(seconds * 1000))) if seconds else ()
        text = json.dumps(value)
        await _asked(lambda: self._client.call("SET", name, text, *expiry))

    def _key(self, kind: str, key: str) -> str:
        return f"{self._prefix}:{kind}:{key}"


async def _asked(ask: Callable[[], Deferred[Any]]) -> Any:
    try:
        return await ask()
    except (RedisDown, RedisRefused) as error:
        raise SharedStateError(str(error)) from None
