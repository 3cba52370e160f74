"""PURE. Slow start: the part of its weight that a server has after it comes up.

:mod:`lbproxy.proxy.features.slowstart` calls it with the time. The part grows linearly from
:data:`FIRST` to 1 in ``seconds``. Balancers only see ``server.weight``, which
:meth:`lbproxy.balance.group.ServerGroup.set_shares` sets at most a few times a second, so slow
start adds no cost to a pick.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["FIRST", "SCALE", "STEPS", "Ramp", "effective_weight"]

Key = TypeVar("Key", bound=Hashable)

FIRST = 0.1
"""Part of its weight that a server starts with (as in Envoy)."""

STEPS = 20
"""Number of steps in which the part grows (5% each, as in HAProxy)."""

SCALE = 64
"""Factor of all weights while a server has only a part of its weight.

A power of two keeps the ring of ``hash`` as it is.
"""

_LEAST_STEP_S = 0.25


class Ramp(Generic[Key]):
    """The servers in slow start, which lasts ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.step = max(seconds / STEPS, _LEAST_STEP_S)
        self._since: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def begin(self, server: Key, now: float) -> None:
        """Start the slow start of a server that has just come up."""
        self._since[server] = now

    def end(self, server: Key) -> bool:
        """Stop the slow start of a server that is down or removed. Return False if it had none."""
        return self._since.pop(server, None) is not None

    def shares(self, now: float) -> dict[Key, float]:
        """Return the current part of each server.

        A server that has reached its full weight is included once, and is then forgotten.
        """
        shares = {server: self._share(now - since) for server, since in self._since.items()}
        for server, share in shares.items():
            if share >= 1.0:
                del self._since[server]
        return shares

    def _share(self, age: float) -> float:
        return max(FIRST, min(1.0, FIRST + (1.0 - FIRST) * age / self.seconds))


def effective_weight(weight: int, share: float, scaled: bool) -> int:
    """Return the weight that balancers see.

    0 stays 0; no part reduces a positive weight to 0.
    """
    if not scaled or weight <= 0:
        return weight
    return max(1, round(weight * SCALE * share))
