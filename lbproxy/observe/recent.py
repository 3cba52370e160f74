"""PURE. Rates and percentiles over the last seconds, from totals.

For clients that follow the state of the admin API (``lbproxy top``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

__all__ = ["FAILED", "Recent", "ended", "failed", "quantile"]

FAILED = (
    "no_server", "queue_full", "queue_timeout", "connect_failed", "connect_timeout", "server_tls",
    "server_gone",
    "bad_response", "response_timeout", "server_timeout", "server_down", "filter_failed",
    "filter_timeout",
)  # fmt: skip
"""Close reasons of TCP sessions that are failures of lbproxy or a server."""

RATE_S = 3.0
"""Period in seconds for rates."""

TIMES_S = 10.0
"""Period in seconds for percentiles."""

Row = Mapping[str, Any]


def ended(frontend: Row) -> int:
    """Return the number of requests or sessions of a frontend (as in the state) that have ended."""
    counts = frontend["responses"] if frontend["mode"] == "http" else frontend["closes"]
    return sum(counts.values())


def failed(frontend: Row) -> int:
    """Return the number of them that failed because of lbproxy or a server."""
    if frontend["mode"] == "http":
        return int(frontend["responses"]["5xx"])
    return sum(frontend["closes"].get(kind, 0) for kind in FAILED)


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return the ``share`` quantile of counts by bucket, interpolated within its bucket, or None.

    ``counts`` has one element more than ``bounds``; durations counted there are treated as the last
    bound.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    seen = 0
    low = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and seen + count >= wanted:
            return low + (bound - low) * (wanted - seen) / count
        seen += count
        low = bound
    return bounds[-1]


@frozen
class _Moment:
    at: float
    state: Row


class Recent:
    """The states of the last ten seconds."""

    def __init__(self) -> None:
        self._moments: deque[_Moment] = deque()

    def add(self, state: Row) -> None:
        """Append the newest state. If lbproxy has restarted, the older states are dropped."""
        at = float(state["at"])
        if self._moments:
            last = self._moments[-1].state
            if state["process"]["started"] != last["process"]["started"]:
                self._moments.clear()
        self._moments.append(_Moment(at, state))
        while len(self._moments) > 2 and at - self._moments[1].at >= TIMES_S:
            self._moments.popleft()

    @property
    def now(self) -> Row:
        """The newest state."""
        return self._moments[-1].state

    def _before(self, seconds: float) -> _Moment:
        now = self._moments[-1].at
        found = self._moments[0]
        for moment in self._moments:
            if now - moment.at < seconds:
                break
            found = moment
        return found

    def rate(self, kind: str, name: str, count: Any) -> float | None:
        """Return the growth of ``count(row)`` of ``state[kind][name]`` a second; None if not known
        yet.
        """
        then, now = self._before(RATE_S), self._moments[-1]
        old, new = then.state[kind].get(name), now.state[kind].get(name)
        if old is None or new is None or now.at <= then.at:
            return None
        return float(max(0, count(new) - count(old))) / (now.at - then.at)

    def times(self, kind: str, names: Sequence[str], field: str) -> list[int]:
        """Return the counts by bucket of a histogram over the last seconds, of several rows
        together.
        """
        bounds = self.now["process"]["bounds"]
        total = [0] * (len(bounds) + 1)
        then = self._before(TIMES_S).state
        for name in names:
            new = self.now[kind].get(name, {}).get(field)
            if new is None:
                continue
            old = then[kind].get(name, {}).get(field) or {"counts": [0] * len(total)}
            if then is self.now:
                continue
            for place, (after, before) in enumerate(zip(new["counts"], old["counts"], strict=True)):
                total[place] += max(0, after - before)
        return total

    def quantile(self, kind: str, names: Sequence[str], field: str, share: float) -> float | None:
        """Return a quantile of :meth:`times`, in seconds."""
        return quantile(self.now["process"]["bounds"], self.times(kind, names, field), share)
