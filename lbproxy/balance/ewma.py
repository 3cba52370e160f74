"""PURE. ``balance = ewma``: of two servers drawn by weight, the one that should answer sooner.

Peak EWMA, as in Finagle: each server has a moving average of its response time (connect time for TCP) that
jumps up to a slower answer at once and forgets it with the time constant ``decay``; the cost of a server is
that average times the leases it would hold, per weight.  A failure counts as an answer that took ``penalty``.

A server nobody has asked yet costs what the average server does, so a new one is neither flooded nor shunned.
The average decays also while a server gets no traffic, so one that was slow is tried again.  O(1) with equal
weights, O(log n) otherwise; a full server leaves the draw until a lease of it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

from attrs import frozen

from lbproxy.balance.sampler import Sampled
from lbproxy.balance.server import ServerState
from lbproxy.errors import Outcome
from lbproxy.interfaces import Env, PickContext
from lbproxy.model import option

__all__ = ["Ewma", "EwmaOptions"]

_LEAST = 1e-6  # seconds; keeps a server that answered in no time at all from costing nothing
_MEAN_SHARE = 1 / 64  # of one answer in the average over all servers


@frozen
class EwmaOptions:
    """How fast it forgets, and what a failure costs."""

    decay: float = option(
        "duration",
        10.0,
        min=0.1,
        max=3600,
        doc=(
            "time constant of the average: the time in which an old response loses 63% of "
            "its weight"
        ),
    )
    penalty: float = option(
        "duration", 1.0, min=0.0, max=3600, doc="response time that a failure counts as"
    )


class _Average:
    """One server's response time."""

    __slots__ = ("seconds", "stamp")

    def __init__(self, seconds: float, stamp: float) -> None:
        self.seconds = seconds
        self.stamp = stamp


class Ewma(Sampled):
    """Peak EWMA: the better of two servers by expected response time."""

    name = "ewma"
    Options = EwmaOptions

    def __init__(self, options: EwmaOptions, env: Env) -> None:
        super().__init__(options, env)
        self._now = env.now
        self._decay = options.decay
        self._penalty = options.penalty
        self._averages: dict[ServerState, _Average] = {}
        self._mean = 0.0  # over the answers of all servers

    def servers_changed(self, servers: Sequence[ServerState]) -> None:
        """A server that comes back starts anew: what was measured before is out of date."""
        super().servers_changed(servers)
        old = self._averages
        self._averages = {server: old[server] for server in servers if server in old}

    def choose(self) -> ServerState:
        """See :class:`~lbproxy.balance.sampler.Sampled`."""
        random: Any = self._random
        one, other = self.free.draw_two(random(), random())
        if one is other:
            return one
        now = self._now()
        return one if self._cost(one, now) <= self._cost(other, now) else other

    def released(self, server: ServerState, outcome: Outcome, seconds: float) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        if server.active < server.maxconn:
            self.free.add(server)
        if outcome is Outcome.FAILED:
            seconds = max(seconds, self._penalty)
        elif seconds < 0:
            return  # it ended before anything could be measured
        else:
            self._mean += (seconds - self._mean) * _MEAN_SHARE if self._mean else seconds
        average = self._averages.get(server)
        now = self._now()
        if average is None:
            if server.listed:
                self._averages[server] = _Average(seconds, now)
            return
        keep = exp(-max(0.0, now - average.stamp) / self._decay)  # clocks are set back
        faded = average.seconds * keep
        average.seconds = seconds if seconds >= faded else faded + seconds * (1.0 - keep)
        average.stamp = now

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Expected cost in seconds per weight."""
        now = self._now()
        result = []
        for server in self.servers:
            known = "" if server in self._averages else " (not measured yet)"
            note = f"{self._time(server, now) * 1000:.1f} ms{known}, {server.active} active"
            result.append((server, self._cost(server, now), f"{note}, weight {server.weight}"))
        return result

    def _time(self, server: ServerState, now: float) -> float:
        """Seconds an answer should take."""
        average = self._averages.get(server)
        if average is None:
            return self._mean
        idle = now - average.stamp
        if idle <= 0.0:
            return average.seconds
        return average.seconds * exp(-idle / self._decay)

    def _cost(self, server: ServerState, now: float) -> float:
        return (self._time(server, now) + _LEAST) * (server.active + 1) / server.weight
