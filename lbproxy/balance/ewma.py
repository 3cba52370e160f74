"""PURE. ``balance = ewma``: of two servers drawn by weight, the one expected to respond sooner.

Peak EWMA, as in Finagle. Each server has a moving average of its response time (connect time for
TCP). The average rises to a slower response at once, and falls with the time constant ``decay``.
The cost of a server is that average times the leases it would hold, per unit of weight. A failure
counts as a response that took ``penalty``.

A server without measurements costs as much as the average server, so that a new server is neither
flooded nor avoided. The average also decays while a server gets no traffic, so that a server that
was slow is tried again. A pick is O(1) with equal weights and O(log n) otherwise. A full server is
not drawn until one of its leases ends.
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

_LEAST = 1e-6  # seconds; a server with an immeasurably short response time still has a cost
_MEAN_SHARE = 1 / 64  # weight of one response in the average over all servers


@frozen
class EwmaOptions:
    """Options of ``balance = ewma``: time constant and cost of a failure."""

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
    """The response time of one server."""

    __slots__ = ("seconds", "stamp")

    def __init__(self, seconds: float, stamp: float) -> None:
        self.seconds = seconds
        self.stamp = stamp


class Ewma(Sampled):
    """Peak EWMA: of two servers, the one with the lower expected response time."""

    name = "ewma"
    Options = EwmaOptions

    def __init__(self, options: EwmaOptions, env: Env) -> None:
        super().__init__(options, env)
        self._now = env.now
        self._decay = options.decay
        self._penalty = options.penalty
        self._averages: dict[ServerState, _Average] = {}
        self._mean = 0.0  # average over the responses of all servers

    def servers_changed(self, servers: Sequence[ServerState]) -> None:
        """Discard the measurements of servers that were removed, so that they start fresh later."""
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
            return  # the attempt ended before anything could be measured
        else:
            self._mean += (seconds - self._mean) * _MEAN_SHARE if self._mean else seconds
        average = self._averages.get(server)
        now = self._now()
        if average is None:
            if server.listed:
                self._averages[server] = _Average(seconds, now)
            return
        keep = exp(-max(0.0, now - average.stamp) / self._decay)  # the clock may be set back
        faded = average.seconds * keep
        average.seconds = seconds if seconds >= faded else faded + seconds * (1.0 - keep)
        average.stamp = now

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Return the expected cost of each server, in seconds per unit of weight."""
        now = self._now()
        result = []
        for server in self.servers:
            known = "" if server in self._averages else " (not measured yet)"
            note = f"{self._time(server, now) * 1000:.1f} ms{known}, {server.active} active"
            result.append((server, self._cost(server, now), f"{note}, weight {server.weight}"))
        return result

    def _time(self, server: ServerState, now: float) -> float:
        """Return the expected response time in seconds."""
        average = self._averages.get(server)
        if average is None:
            return self._mean
        idle = now - average.stamp
        if idle <= 0.0:
            return average.seconds
        return average.seconds * exp(-idle / self._decay)

    def _cost(self, server: ServerState, now: float) -> float:
        return (self._time(server, now) + _LEAST) * (server.active + 1) / server.weight
