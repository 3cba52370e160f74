"""PURE. Passive health: judge servers by the outcomes of their traffic.

:mod:`lbproxy.proxy.features.ejector` drives it, one object per backend with ``passive``. Time is an
argument, and a server is any hashable object. The rules:

1. ``errors`` consecutive failures eject a server. A success resets the count.
2. Every ``every`` seconds, servers with at least ``min_requests`` in the interval are compared, if
   there are at least ``min_servers`` of them. A server is ejected if its success rate is more than
   ``stdev`` standard deviations below the mean *of the others*, or if its mean response time is
   above ``latency`` times the median of the others. (Envoy includes the judged server in mean and
   deviation; among few servers it then hides itself.)
3. The n-th ejection lasts n times ``eject``, at most ``eject_max``. Each ``eject`` in service
   afterwards removes one ejection from the count.
4. A server that returns is on trial: one failure ejects it again, a success ends the trial.
5. An ejection that ``may_eject`` refuses (too many servers are out) does not happen, and the count
   restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import sqrt
from statistics import fmean, pstdev
from typing import Generic, TypeVar

from attrs import frozen

from lbproxy.model import PassiveSpec

__all__ = ["Ejection", "PassiveHealth"]

Key = TypeVar("Key", bound=Hashable)

# Smallest spread of success rates: if all others are perfect, one failure in a thousand is no
# outlier.
_LEAST_SPREAD = 0.02


@frozen
class Ejection(Generic[Key]):
    """An ejection until ``until``.

    ``seconds``: its length. ``times``: number of ejections so far.
    """

    server: Key
    seconds: float
    until: float
    times: int
    reason: str


class _Record:
    """The data about one server."""

    __slots__ = (
        "back",
        "bad",
        "good",
        "latency_sum",
        "out",
        "run",
        "timed",
        "times",
        "trial",
    )

    def __init__(self) -> None:
        self.run = 0  # failures in a row
        self.trial = False
        self.out = False  # currently ejected
        self.back = 0.0  # time of the last return to service
        self.times = 0  # ejections not yet forgiven at ``back``
        self.clear()

    def clear(self) -> None:
        """Begin a new interval."""
        self.good = self.bad = self.timed = 0
        self.latency_sum = 0.0

    @property
    def requests(self) -> int:
        return self.good + self.bad

    @property
    def rate(self) -> float:
        return self.good / (self.good + self.bad)

    @property
    def latency(self) -> float:
        return self.latency_sum / self.timed


class PassiveHealth(Generic[Key]):
    """Passive health of the servers of a backend (see the module for the rules).

    ``may_eject(server)``: whether one more server may be out of use. ``refused`` counts the
    ejections that it refused.
    """

    def __init__(self, spec: PassiveSpec, may_eject: Callable[[Key], bool]) -> None:
        self.spec = spec
        self.refused = 0
        self._may_eject = may_eject
        self._records: dict[Key, _Record] = {}
        self._errors = spec.errors

    @property
    def compares(self) -> bool:
        """True if :meth:`judge` compares anything."""
        return self.spec.success_rate or self.spec.latency > 0

    def _record(self, server: Key) -> _Record:
        record = self._records.get(server)
        if record is None:
            record = self._records[server] = _Record()
        return record

    def succeeded(self, server: Key, seconds: float) -> None:
        """Record a success.

        ``seconds`` until the response head (TCP: to connect), negative if unknown.
        """
        record = self._record(server)
        record.run = 0
        record.trial = False
        record.good += 1
        if seconds >= 0.0:
            record.timed += 1
            record.latency_sum += seconds

    def failed(self, server: Key, why: str, now: float) -> Ejection[Key] | None:
        """Record a failure; return the ejection that it causes, or None. ``why`` is for people."""
        record = self._record(server)
        record.bad += 1
        if record.out or not self._errors:
            return None
        record.run += 1
        if record.trial:
            return self._eject(server, record, f"failed again on its return: {why}", now)
        if record.run >= self._errors:
            count = f"{record.run} failures in a row, the last: {why}"
            return self._eject(server, record, count if record.run > 1 else why, now)
        return None

    def judge(self, now: float) -> list[Ejection[Key]]:
        """Compare the servers and begin a new interval."""
        spec = self.spec
        volume = {
            server: record
            for server, record in self._records.items()
            if record.requests >= spec.min_requests and not record.out
        }
        found: list[Ejection[Key]] = []
        if len(volume) >= spec.min_servers:
            reasons = self._by_latency(volume) if spec.latency else {}
            if spec.success_rate:
                reasons.update(self._by_success(volume))
            for server, reason in reasons.items():
                ejection = self._eject(server, volume[server], reason, now)
                if ejection is not None:
                    found.append(ejection)
        for record in self._records.values():
            record.clear()
        return found

    def _by_success(self, records: dict[Key, _Record]) -> dict[Key, str]:
        rates = {server: record.rate for server, record in records.items()}
        others = len(rates) - 1
        # deviation that another server of the same kind may have, given so few servers
        few = sqrt((others + 1) / (others - 1)) if others > 1 else 1.0
        reasons = {}
        for server, (mean, spread) in _others(list(rates.items())).items():
            rate = rates[server]
            # precision of a share over so many requests
            noise = sqrt(max(0.0, mean * (1.0 - mean)) / records[server].requests)
            if rate < mean - self.spec.stdev * max(few * spread, noise, _LEAST_SPREAD):
                reasons[server] = f"{rate:.1%} of its requests succeed, {mean:.1%} of the others'"
        return reasons

    def _by_latency(self, records: dict[Key, _Record]) -> dict[Key, str]:
        spec = self.spec
        times = {server: record.latency for server, record in records.items() if record.timed}
        if len(times) < spec.min_servers:
            return {}
        order = sorted(times.values())
        reasons = {}
        for server, seconds in times.items():
            usual = _median_without(order, seconds)
            if seconds > spec.latency * usual and seconds - usual >= spec.latency_min:
                reasons[server] = f"answers in {seconds:.3g} s, the others in {usual:.3g} s"
        return reasons

    def _eject(self, server: Key, record: _Record, reason: str, now: float) -> Ejection[Key] | None:
        record.run = 0
        record.trial = False
        if not self._may_eject(server):
            self.refused += 1
            return None
        spec = self.spec
        forgiven = int((now - record.back) / spec.eject) if record.times else 0
        record.times = max(0, record.times - forgiven) + 1
        record.out = True
        seconds = min(spec.eject * record.times, spec.eject_max)
        return Ejection(server, seconds, now + seconds, record.times, reason)

    def returned(self, server: Key, now: float) -> None:
        """End the ejection of a server and put it on trial."""
        record = self._record(server)
        record.out = False
        record.trial = True
        record.run = 0
        record.back = now
        record.clear()

    def forget(self, server: Key) -> None:
        """Forget a removed server; does nothing for an unknown one."""
        self._records.pop(server, None)


def _others(values: list[tuple[Key, float]]) -> dict[Key, tuple[float, float]]:
    """Return for each key the mean and the standard deviation of all other values. O(n)."""
    numbers = [value for _, value in values]
    count = len(numbers) - 1
    mean, spread = fmean(numbers), pstdev(numbers)
    total, square = mean * (count + 1), (spread * spread + mean * mean) * (count + 1)
    result = {}
    for key, value in values:
        rest = (total - value) / count
        variance = (square - value * value) / count - rest * rest
        result[key] = (rest, sqrt(max(0.0, variance)))
    return result


def _median_without(order: list[float], value: float) -> float:
    """Return the median of the sorted ``order`` without one ``value``. O(1)."""
    count = len(order)
    middle = count // 2
    if count % 2:  # an even number remains: two values are in the middle
        low, mid, high = order[middle - 1], order[middle], order[middle + 1]
        if value < mid:
            return (mid + high) / 2
        return (low + high) / 2 if value == mid else (low + mid) / 2
    low, high = order[middle - 1], order[middle]
    return high if value <= low else low
