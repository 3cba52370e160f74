"""PURE. The alert rules: one function each, which returns the subjects that meet its condition.

To add a rule, write a function ``(History, AlertLimits) -> Iterable[Finding]``, add a line to
:data:`RULES`, and describe the rule in ``docs/runbook.rst``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import field, frozen

from lbproxy.observe.events import EventSeverity
from lbproxy.observe.samples import LONG, Baseline, History

__all__ = ["RULES", "WINDOW", "AlertLimits", "AlertRule", "Finding", "Look"]

WINDOW = 60.0
"""Period in seconds over which ratios and sums are computed."""

_DAY = 86400.0
_STEP = 10.0  # seconds of one observation of a baseline


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


def _hit_ratio(history: History, limits: AlertLimits) -> Iterator[Finding]:
    now = history.now
    for name, cache in now.caches.items():
        line = history.baseline(f"hit_ratio {name}")
        count = cache.asked - line.total[0]
        if now.at - line.at >= _STEP and (count >= limits.volume or count < 0):
            first = line.at == -math.inf or count < 0  # counters began anew: nothing to compare
            share = (cache.answered - line.total[1]) / count if count > 0 else 0.0
            line.at, line.total = now.at, (cache.asked, float(cache.answered))
            if not first:
                line.learn(share, line.known and share < line.mean - limits.limit)
        elif now.at - line.at >= WINDOW and line.at > -math.inf:
            line.high = False  # too little traffic to say anything
            line.at, line.total = now.at, (cache.asked, float(cache.answered))
        if line.high:
            yield Finding(
                name,
                f"cache {name} answers {line.last:.0%} of its requests; normal is {line.mean:.0%}",
                EventSeverity.WARNING,
                {"ratio": round(line.last, 4), "normal": round(line.mean, 4)},
            )


def _shared_store(history: History, limits: AlertLimits) -> Iterator[Finding]:
    error = history.now.shared_error
    if error:
        yield Finding("", f"shared store is down: {error}", EventSeverity.ERROR, {"error": error})


def _list(history: History, limits: AlertLimits) -> Iterator[Finding]:
    for name, error in history.now.lists.items():
        if error:
            yield Finding(name, f"list {name} is not up to date: {error}", facts={"error": error})


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
        count = history.now.happened.get(kind, 0) - history.before(LONG).happened.get(kind, 0)
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
    "hit_ratio": AlertRule(
        _hit_ratio, "percent", AlertLimits(0.2, 60, 50),
        "fall of a cache's hit ratio below what is normal"
    ),
    "shared_store": AlertRule(
        _shared_store, "", AlertLimits(0, 5), "the store of [shared] does not answer"
    ),
    "list": AlertRule(
        _list, "", AlertLimits(0, 5), "a new version of a list of addresses cannot be used"
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
