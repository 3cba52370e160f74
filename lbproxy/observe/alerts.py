"""PURE. Alert rules: conditions over counters, and the alerts that follow from them.

:mod:`lbproxy.alerts.alerter` takes a :class:`Sample` each second and passes it to
:meth:`Alerts.look`. Each rule compares the newest sample with older ones (:class:`History`), and
returns the subjects for which its condition holds. An alert fires when the condition has held for
the rule's ``after`` seconds. It recovers when the condition has not held for :data:`CALM` seconds.

To add a rule, write a function ``(History, Limits) -> Iterable[Finding]``, add a line to
:data:`RULES`, and describe the rule in ``docs/runbook.rst``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import define, field, frozen

from lbproxy.observe.events import EventSeverity

__all__ = [
    "CALM",
    "RULES",
    "WINDOW",
    "Alert",
    "AlertChange",
    "AlertLimits",
    "AlertRule",
    "Alerts",
    "BackendSample",
    "Finding",
    "FrontendSample",
    "History",
    "Sample",
]

WINDOW = 60.0
"""Period in seconds over which ratios and sums are computed."""

CALM = 30.0
"""An alert recovers when its condition has not held for this many seconds."""

_LONG = 300.0  # how long single happenings (a worker that died) keep an alert up
_DAY = 86400.0

# The learned baselines.
_STEP = 10.0  # seconds of one observation
_LEARN = 30  # observations before it is believed
_ALPHA = 0.02  # weight of a new observation: half of the past is forgotten in about six minutes
_ALPHA_BAD = 0.002  # while it looks wrong: a change that stays becomes normal in about an hour
_SIGMAS = 4.0


@frozen
class FrontendSample:
    """Totals of a frontend since the start, and its current connections.

    ``done``: requests (HTTP) or sessions (TCP) that ended. ``failed``: those that failed because of
    lbproxy or a server. ``bad``: those that were refused or answered with 4xx, challenge pages
    left out. ``worst_client``: (address, its part of ``bad`` in the last minute), or None if
    clients are not counted. ``active`` of ``maxconn`` connections are open (0: no limit).
    ``connections``: those that were accepted.
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
    those that are up. ``usable``: whether any server can be picked. ``waiting`` of ``queue`` places
    are taken. ``timed`` responses took ``seconds`` in total.
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
class Sample:
    """The counters at one moment.

    ``at``: monotonic time in seconds. ``active`` of ``maxconn`` connections of the process are
    open. ``certificates``: name -> seconds until expiry. ``logs``: path -> dropped lines. ``lag``:
    delay of the reactor in seconds. ``happened``: kind of event -> number of events.
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
        while len(self._samples) > 2 and sample.at - self._samples[1].at >= _LONG:
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
    total: tuple[int, float] = (0, 0.0)  # as last seen
    last: float = 0.0  # the newest observation
    high: bool = False  # it was far above normal

    def learn(self, value: float, high: bool) -> None:
        """Add an observation."""
        self.count += 1
        self.last, self.high = value, high
        alpha = _ALPHA_BAD if high else max(_ALPHA, 1 / self.count)
        change = value - self.mean
        self.mean += alpha * change
        self.variance = (1 - alpha) * (self.variance + alpha * change * change)

    @property
    def known(self) -> bool:
        """Whether there are enough observations to use the baseline."""
        return self.count >= _LEARN

    @property
    def bound(self) -> float:
        """The largest value that is still normal."""
        return self.mean + _SIGMAS * math.sqrt(self.variance)


@frozen
class Finding:
    """A condition that holds now for ``subject``."""

    subject: str
    text: str
    severity: EventSeverity = EventSeverity.WARNING
    facts: Mapping[str, Any] = field(factory=dict)


@frozen
class AlertLimits:
    """The parameters of a rule.

    ``limit``: in the rule's unit. ``after``: seconds. ``volume``: minimum number of requests.
    """

    limit: float
    after: float
    volume: int = 0


Look = Callable[[History, AlertLimits], Iterable[Finding]]


@frozen
class AlertRule:
    """One line of :data:`RULES`.

    ``unit`` names a parser of :mod:`lbproxy.config.units`; "" if the rule has no limit.
    """

    look: Look
    unit: str
    defaults: AlertLimits
    doc: str


# -- the rules ----------------------------------------------------------------------------------


def _error_ratio(history: History, limits: AlertLimits) -> Iterator[Finding]:
    then = history.before(WINDOW)
    for name, now in history.now.frontends.items():
        old = then.frontends.get(name)
        if old is None:
            continue
        done, failed = now.done - old.done, now.failed - old.failed
        if done >= limits.volume and done and failed / done > limits.limit:
            share = failed / done
            yield Finding(
                name,
                f"frontend {name}: {share:.1%} of {done} requests failed in the last minute",
                EventSeverity.ERROR,
                {"share": round(share, 4), "failed": failed, "done": done},
            )


def _latency(history: History, limits: AlertLimits) -> Iterator[Finding]:
    now = history.now
    for name, backend in now.backends.items():
        line = history.baseline(f"latency {name}")
        count = backend.timed - line.total[0]
        if now.at - line.at >= _STEP and (count >= limits.volume or count < 0):
            mean = (backend.seconds - line.total[1]) / count if count > 0 else 0.0
            first = line.at == -math.inf or count < 0  # counters began anew: nothing to compare
            line.at, line.total = now.at, (backend.timed, backend.seconds)
            if not first:
                high = line.known and mean > max(
                    line.bound, limits.limit * line.mean, line.mean + 0.02
                )
                line.learn(mean, high)
        elif now.at - line.at >= WINDOW and line.at > -math.inf:
            line.high = False  # too little traffic to say anything
            line.at, line.total = now.at, (backend.timed, backend.seconds)
        if line.high:
            yield Finding(
                name,
                f"backend {name} answers in {_ms(line.last)}; normal is {_ms(line.mean)}",
                EventSeverity.WARNING,
                {"seconds": round(line.last, 6), "normal": round(line.mean, 6)},
            )


def _backend_empty(history: History, limits: AlertLimits) -> Iterator[Finding]:
    for name, backend in history.now.backends.items():
        if not backend.usable:
            yield Finding(name, f"backend {name} has no server", EventSeverity.ERROR)


def _backend_weak(history: History, limits: AlertLimits) -> Iterator[Finding]:
    for name, backend in history.now.backends.items():
        if backend.usable and backend.wanted and backend.up < limits.limit * backend.wanted:
            yield Finding(
                name,
                f"backend {name}: {backend.up} of {backend.wanted} servers are up",
                EventSeverity.WARNING,
                {"up": backend.up, "wanted": backend.wanted},
            )


def _queue(history: History, limits: AlertLimits) -> Iterator[Finding]:
    for name, backend in history.now.backends.items():
        if backend.queue and backend.waiting > limits.limit * backend.queue:
            yield Finding(
                name,
                f"backend {name}: {backend.waiting} wait in its queue of {backend.queue}",
                EventSeverity.WARNING,
                {"waiting": backend.waiting, "queue": backend.queue},
            )


def _sent_away(history: History, limits: AlertLimits) -> Iterator[Finding]:
    then = history.before(WINDOW)
    for name, now in history.now.backends.items():
        old = then.backends.get(name)
        count = now.sent_away - old.sent_away if old is not None else 0
        if count > limits.limit:
            yield Finding(
                name,
                f"backend {name} sent {count} away in the last minute: its servers and its queue "
                "are full",
                EventSeverity.ERROR,
                {"count": count},
            )


def _connections(history: History, limits: AlertLimits) -> Iterator[Finding]:
    now = history.now
    rows = [("lbproxy", "", now.active, now.maxconn)]
    rows += [(f"frontend {n}", n, f.active, f.maxconn) for n, f in now.frontends.items()]
    for words, subject, active, maxconn in rows:
        if maxconn and active > limits.limit * maxconn:
            yield Finding(
                subject,
                f"{words} has {active} of at most {maxconn} connections",
                EventSeverity.WARNING,
                {"active": active, "maxconn": maxconn},
            )


def _certificate(history: History, limits: AlertLimits) -> Iterator[Finding]:
    for name, left in history.now.certificates.items():
        if left < limits.limit:
            days = left / _DAY
            when = "has expired" if left < 0 else f"expires in {days:.1f} days"
            yield Finding(
                name,
                f"certificate {name} {when}",
                EventSeverity.ERROR if days < 3 else EventSeverity.WARNING,
                {"days": round(days, 2)},
            )


def _watch_rate(line: Baseline, total: int, at: float, limit: float, volume: int) -> None:
    """Learn the rate of a counter every :data:`_STEP` seconds.

    It is high if it exceeds ``limit`` times the mean, and counts ``volume`` in that time.
    """
    if at - line.at < _STEP:
        return
    count, span = total - line.total[0], at - line.at
    line.at, line.total = at, (total, 0.0)
    if count >= 0 and span < math.inf:  # else there is nothing to compare with
        rate = count / span
        enough = rate * _STEP >= volume
        line.learn(rate, line.known and enough and rate > limit * line.mean)


def _attack(history: History, limits: AlertLimits) -> Iterator[Finding]:
    """Return frontends with many refusals and 4xx, or many new connections.

    That is more than ``limit`` times the usual number, or a large number of refusals mostly from
    one address.  New connections are no fault, so ten times ``volume`` of them are needed.
    """
    now = history.now
    for name, frontend in now.frontends.items():
        line = history.baseline(f"attack {name}")
        _watch_rate(line, frontend.bad, now.at, limits.limit, limits.volume)
        coming = history.baseline(f"connections {name}")
        _watch_rate(coming, frontend.connections, now.at, limits.limit, 10 * limits.volume)
        if coming.high and not line.high:
            yield Finding(
                name,
                f"frontend {name}: {coming.last:.0f} new connections a second;"
                f" normal is {coming.mean:.1f}",
                EventSeverity.WARNING,
                {"rate": round(coming.last, 2), "normal": round(coming.mean, 2)},
            )
        if line.high:
            yield Finding(
                name,
                f"frontend {name}: {line.last:.0f} bad requests and refused connections a second;"
                f" normal is {line.mean:.1f}",
                EventSeverity.WARNING,
                {"rate": round(line.last, 2), "normal": round(line.mean, 2)},
            )
        worst = frontend.worst_client
        if worst is not None and worst[1] >= limits.volume * WINDOW / _STEP:
            yield Finding(
                f"{name} {worst[0]}",
                f"frontend {name}: {worst[1]} bad requests and refused connections from {worst[0]} "
                "in a minute",
                EventSeverity.WARNING,
                {"client": worst[0], "count": worst[1]},
            )


def _log_drops(history: History, limits: AlertLimits) -> Iterator[Finding]:
    then = history.before(WINDOW)
    for path, dropped in history.now.logs.items():
        count = dropped - then.logs.get(path, dropped)
        if count > limits.limit:
            yield Finding(
                path,
                f"access log {path} lost {count} lines in the last minute",
                EventSeverity.WARNING,
                {"count": count},
            )


def _lag(history: History, limits: AlertLimits) -> Iterator[Finding]:
    lag = history.now.lag
    if lag > limits.limit:
        yield Finding(
            "", f"lbproxy is {_ms(lag)} late: it has more to do than it can", EventSeverity.WARNING,
            {"seconds": round(lag, 3)},
        )  # fmt: skip


def _event(kind: str, text: str, severity: EventSeverity) -> Look:
    """Return a rule for single events; its alert lasts until five minutes after the last one."""

    def look(history: History, limits: AlertLimits) -> Iterator[Finding]:
        count = history.now.happened.get(kind, 0) - history.before(_LONG).happened.get(kind, 0)
        if count > limits.limit:
            yield Finding("", text.format(count=count), severity, {"count": count})

    return look


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


RULES: dict[str, AlertRule] = {
    "error_ratio": AlertRule(
        _error_ratio, "percent", AlertLimits(0.05, 30, 50),
        "share of requests that fail, in a minute"
    ),
    "latency": AlertRule(
        _latency, "times", AlertLimits(2, 20, 20), "response time, as a multiple of what is normal"
    ),
    "backend_empty": AlertRule(_backend_empty, "", AlertLimits(0, 2), "a backend has no server"),
    "backend_weak": AlertRule(
        _backend_weak, "percent", AlertLimits(0.5, 30),
        "least share of a backend's servers that are up"
    ),
    "queue": AlertRule(_queue, "percent", AlertLimits(0.5, 10),
        "share of a queue's places that are taken"),
    "sent_away": AlertRule(
        _sent_away, "int", AlertLimits(0, 0), "requests sent away from a full queue, in a minute"
    ),
    "connections": AlertRule(
        _connections, "percent", AlertLimits(0.9, 10), "share of maxconn that is taken"
    ),
    "certificate": AlertRule(
        _certificate, "duration", AlertLimits(14 * _DAY, 0), "time left to a certificate"
    ),
    "attack": AlertRule(
        _attack, "times", AlertLimits(10, 10, 100),
        "refused and new connections and 4xx, as a multiple of what is normal",
    ),
    "log_drops": AlertRule(
        _log_drops, "int", AlertLimits(0, 0), "access log lines lost, in a minute"
    ),
    "lag": AlertRule(_lag, "duration", AlertLimits(0.5, 5), "how late the reactor is"),
    "worker_died": AlertRule(
        _event("worker_died", "worker processes died: {count}", EventSeverity.ERROR), "int",
        AlertLimits(0, 0),
        "worker processes that died, in five minutes",
    ),
    "reload_refused": AlertRule(
        _event("reload_refused", "a new configuration was refused", EventSeverity.WARNING), "int",
        AlertLimits(0, 0), "new configurations that were refused, in five minutes",
    ),
}  # fmt: skip
"""Name -> rule, in the order of the documentation."""


# -- alerts -------------------------------------------------------------------------------------


@frozen
class Alert:
    """A firing alert: the name of its rule and its current :class:`Finding`.

    ``since``: start, in the clock of :attr:`Sample.at`.
    """

    name: str
    finding: Finding
    since: float

    @property
    def subject(self) -> str:
        """The subject of the finding."""
        return self.finding.subject


@frozen
class AlertChange:
    """An alert that fires, or has recovered (``fired`` is False)."""

    fired: bool
    alert: Alert


@define
class _State:
    finding: Finding
    since: float  # when the condition began to hold
    seen: float  # when it held last
    alert: Alert | None = None


class Alerts:
    """Evaluates the rules. ``limits``: by name of the rule; a rule without limits is off."""

    def __init__(self, limits: Mapping[str, AlertLimits]) -> None:
        self._limits = {name: limits[name] for name in RULES if name in limits}
        self._history = History()
        self._states: dict[tuple[str, str], _State] = {}

    @property
    def active(self) -> list[Alert]:
        """The firing alerts, in the order of their start."""
        found = [state.alert for state in self._states.values() if state.alert is not None]
        return sorted(found, key=lambda alert: alert.since)

    def look(self, sample: Sample) -> list[AlertChange]:
        """Process a sample; return the alerts that start or recover."""
        self._history.add(sample)
        changes: list[AlertChange] = []
        for name, limits in self._limits.items():
            for finding in RULES[name].look(self._history, limits):
                self._found(name, finding, limits.after, sample.at, changes)
        for key, state in list(self._states.items()):
            if state.seen == sample.at:
                continue
            if state.alert is None:
                del self._states[key]  # it did not last
            elif sample.at - state.seen >= CALM:
                del self._states[key]
                changes.append(AlertChange(False, state.alert))
        self._history.forget((*sample.frontends, *sample.backends))
        return changes

    def _found(
        self, name: str, finding: Finding, after: float, at: float, changes: list[AlertChange]
    ) -> None:
        key = (name, finding.subject)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = _State(finding, at, at)
        state.finding, state.seen = finding, at
        if state.alert is not None:
            state.alert = Alert(name, finding, state.alert.since)
        elif at - state.since >= after:
            state.alert = Alert(name, finding, at)
            changes.append(AlertChange(True, state.alert))
