"""PURE. The counters of the last minutes, and the levels that are usual for them.

Alert rules (:mod:`lbproxy.observe.alertrules`) compare samples with older ones and with baselines.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping

from attrs import define, field, fields, frozen

__all__ = [
    "LONG",
    "BackendSample",
    "Baseline",
    "CacheSample",
    "FrontendSample",
    "History",
    "Sample",
]

LONG = 300.0
"""Period in seconds of a :class:`History`. A single event, such as a worker that ended, keeps its
alert firing for this long.
"""

_LEARN = 30  # minimum number of observations
_ALPHA = 0.02  # weight of a new observation: half of the past is forgotten in about six minutes
# weight of an abnormal observation: a lasting change becomes normal in about an hour
_ALPHA_BAD = 0.002
_SIGMAS = 4.0


@frozen
class FrontendSample:
    """Totals of a frontend since the start, and its current connections.

    ``done``: requests (HTTP) or sessions (TCP) that ended. ``failed``: those that failed because of
    lbproxy or a server. ``bad``: those that were refused or answered with 4xx, except challenge
    pages. ``worst_client``: (address, its part of ``bad`` in the last minute), or None if clients
    are not counted. ``active`` of ``maxconn`` connections are open (0: no limit). ``connections``:
    accepted connections.
    """

    done: int = 0
    failed: int = 0
    bad: int = 0
    active: int = 0
    maxconn: int = 0
    worst_client: tuple[str, int] | None = None
    connections: int = 0


@frozen
class BackendSample:
    """Totals of a backend since the start, and its current servers.

    ``wanted``: servers that should be up (neither backup nor disabled by an operator). ``up``:
    servers that are up. ``usable``: whether any server can be picked. ``waiting`` of ``queue``
    places are taken. ``timed`` responses took ``seconds`` in total.
    """

    wanted: int = 0
    up: int = 0
    usable: bool = True
    waiting: int = 0
    queue: int = 0
    sent_away: int = 0
    timed: int = 0
    seconds: float = 0.0


@frozen
class CacheSample:
    """Totals of a cache since the start: its requests, and those that it answered."""

    asked: int = 0
    answered: int = 0


@frozen
class Sample:
    """The counters at one moment.

    ``at``: monotonic time in seconds. ``active`` of ``maxconn`` connections of the process are
    open. ``certificates``: name -> seconds until expiry. ``logs``: path -> dropped lines. ``lag``:
    delay of the reactor in seconds. ``happened``: kind of event -> number of events. ``caches``: by
    name. ``shared_error``: the error of the shared store, "" if it responds or none is configured.
    ``lists``: name -> reason for which the last version of the list was rejected, "" if it was
    loaded.
    """

    at: float
    frontends: Mapping[str, FrontendSample] = field(factory=dict)
    backends: Mapping[str, BackendSample] = field(factory=dict)
    active: int = 0
    maxconn: int = 0
    certificates: Mapping[str, float] = field(factory=dict)
    logs: Mapping[str, int] = field(factory=dict)
    lag: float = 0.0
    happened: Mapping[str, int] = field(factory=dict)
    caches: Mapping[str, CacheSample] = field(factory=dict, metadata={"features": CacheSample})
    shared_error: str = ""
    lists: Mapping[str, str] = field(factory=dict, metadata={"features": str})


FEATURE_FIELDS: dict[str, type] = {
    one.name: one.metadata["features"] for one in fields(Sample) if "features" in one.metadata
}
"""Fields of :class:`Sample` that features fill, with the class of their values; a feature may add
names to them.
"""


class History:
    """The samples of the last five minutes, at most one a second, and the learned baselines."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()
        self.baselines: dict[str, Baseline] = {}

    def add(self, sample: Sample) -> None:
        """Append a sample.

        Samples older than five minutes are dropped, except the newest of them.
        """
        self._samples.append(sample)
        while len(self._samples) > 2 and sample.at - self._samples[1].at >= LONG:
            self._samples.popleft()

    @property
    def now(self) -> Sample:
        """The newest sample."""
        return self._samples[-1]

    def before(self, seconds: float) -> Sample:
        """Return the newest sample that is at least ``seconds`` old, or the oldest one."""
        found = self._samples[0]
        for sample in reversed(self._samples):
            found = sample
            if self.now.at - sample.at >= seconds:
                break
        return found

    def baseline(self, key: str) -> Baseline:
        """Return the baseline ``key``; create it at first use."""
        found = self.baselines.get(key)
        if found is None:
            found = self.baselines[key] = Baseline()
        return found

    def forget(self, living: Iterable[str]) -> None:
        """Drop the baselines of subjects that no longer exist."""
        kept = set(living)
        for key in [key for key in self.baselines if key.partition(" ")[2] not in kept]:
            del self.baselines[key]


@define
class Baseline:
    """The usual level of a value: an exponentially weighted mean and variance.

    The algorithm is Welford's, after Finch 2009.
    """

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0
    at: float = -math.inf
    total: tuple[int, float] = (0, 0.0)  # counter at the last observation
    last: float | None = None  # the last observation; None: there was none, or long ago
    high: bool = False  # the last observation was far above normal, or below it for a hit ratio

    def learn(self, value: float, high: bool) -> None:
        """Add an observation."""
        self.count += 1
        self.last, self.high = value, high
        alpha = _ALPHA_BAD if high else max(_ALPHA, 1 / self.count)
        change = value - self.mean
        self.mean += alpha * change
        self.variance = (1 - alpha) * (self.variance + alpha * change * change)

    def rest(self) -> None:
        """Note that there is too little traffic for an observation."""
        self.last, self.high = None, False

    @property
    def known(self) -> bool:
        """True if there are enough observations to use the baseline."""
        return self.count >= _LEARN

    @property
    def bound(self) -> float:
        """The largest value that is still normal."""
        return self.mean + _SIGMAS * math.sqrt(self.variance)
