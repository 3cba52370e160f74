"""PURE. Slow start: the share of its weight that a server has while it warms up.

Driven by :mod:`lbproxy.proxy.features.slowstart`; time is an argument.  A server's share grows in a straight line from
:data:`FIRST` to 1 in ``seconds``.  Balancers know nothing of it: what they see is ``server.weight``, which
:meth:`lbproxy.balance.group.ServerGroup.set_shares` sets a few times a second at most, so a pick costs what it
always does.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["FIRST", "SCALE", "STEPS", "Ramp", "effective_weight"]

Key = TypeVar("Key", bound=Hashable)

FIRST = 0.1
"""The share a server begins with (Envoy's default as well)."""

STEPS = 20
"""In how many steps a share grows (HAProxy's 5%)."""

SCALE = 64
"""Weights are multiplied by this while some server has a share of its weight only.

A power of two: the ring of ``hash`` stays as it is."""

_LEAST_STEP_S = 0.25


class Ramp(Generic[Key]):
    """The servers that warm up; ``seconds`` is how long that takes."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.step = max(seconds / STEPS, _LEAST_STEP_S)
        self._since: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def begin(self, server: Key, now: float) -> None:
        """It has just come up."""
        self._since[server] = now

    def end(self, server: Key) -> bool:
        """It is down, or gone; False if it did not warm up."""
        return self._since.pop(server, None) is not None

    def shares(self, now: float) -> dict[Key, float]:
        """The share of each now; those that have all of it are named once, and then over."""
        shares = {server: self._share(now - since) for server, since in self._since.items()}
        for server, share in shares.items():
            if share >= 1.0:
                del self._since[server]
        return shares

    def _share(self, age: float) -> float:
        return max(FIRST, min(1.0, FIRST + (1.0 - FIRST) * age / self.seconds))


def effective_weight(weight: int, share: float, scaled: bool) -> int:
    """What balancers see of ``weight``; 0 stays 0, and no share makes a weight 0."""
    if not scaled or weight <= 0:
        return weight
    return max(1, round(weight * SCALE * share))
