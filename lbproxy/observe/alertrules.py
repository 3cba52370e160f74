"""PURE. The alert rules: one function each, which returns the subjects that meet its condition.

To add a rule, write a function (:data:`~lbproxy.observe.finding.Look`), add a line to
:data:`RULES`, and describe the rule in ``docs/runbook.rst``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from attrs import frozen

from lbproxy.observe.baselinerules import attack, hit_ratio, latency
from lbproxy.observe.events import EventSeverity
from lbproxy.observe.finding import WINDOW, AlertLimits, Finding, Look, milliseconds
from lbproxy.observe.samples import LONG, BackendSample, History

__all__ = ["RULES", "AlertRule"]

_DAY = 86400.0

Subjects = Collection[str]


@frozen
class AlertRule:
    """One line of :data:`RULES`.

    ``unit`` names a parser of :mod:`lbproxy.config.units`; "" if the rule has no limit.
    """

    look: Look
    unit: str
    defaults: AlertLimits
    doc: str


def _error_ratio(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    then = history.before(WINDOW)
    for name, now in history.now.frontends.items():
        old = then.frontends.get(name)
        if old is None:
            continue
        done, failed = now.done - old.done, now.failed - old.failed
        share = failed / done if done else 0.0
        high = done >= limits.volume and share > limits.limit
        if high or name in firing:
            yield Finding(
                name,
                f"frontend {name}: {share:.1%} of {done} requests failed in the last minute",
                EventSeverity.ERROR,
                {"share": round(share, 4), "failed": failed, "done": done},
                high,
            )


def _backend_empty(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    for name, backend in history.now.backends.items():
        if not backend.usable:
            yield Finding(name, f"backend {name} has no server", EventSeverity.ERROR)
        elif name in firing:
            yield _servers_up(name, backend, few=False)


def _backend_weak(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    for name, backend in history.now.backends.items():
        few = bool(backend.usable and backend.wanted)
        few = few and backend.up < limits.limit * backend.wanted
        if few or name in firing:
            yield _servers_up(name, backend, few=few)


def _servers_up(name: str, backend: BackendSample, *, few: bool) -> Finding:
    return Finding(
        name,
        f"backend {name}: {backend.up} of {backend.wanted} servers are up",
        EventSeverity.WARNING,
        {"up": backend.up, "wanted": backend.wanted},
        few,
    )


def _queue(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    for name, backend in history.now.backends.items():
        full = backend.queue > 0 and backend.waiting > limits.limit * backend.queue
        if full or name in firing:
            yield Finding(
                name,
                f"backend {name}: {backend.waiting} of {backend.queue} "
                "places in the queue are taken",
                EventSeverity.WARNING,
                {"waiting": backend.waiting, "queue": backend.queue},
                full,
            )


def _sent_away(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    then = history.before(WINDOW)
    for name, now in history.now.backends.items():
        old = then.backends.get(name)
        count = now.sent_away - old.sent_away if old is not None else 0
        full = count > limits.limit
        if full or name in firing:
            why = ": its servers and queue are full" if full else ""
            yield Finding(
                name,
                f"backend {name} rejected {count} in the last minute{why}",
                EventSeverity.ERROR,
                {"count": count},
                full,
            )


def _connections(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    now = history.now
    rows = [("lbproxy", "", now.active, now.maxconn)]
    rows += [(f"frontend {n}", n, f.active, f.maxconn) for n, f in now.frontends.items()]
    for words, subject, active, maxconn in rows:
        full = maxconn > 0 and active > limits.limit * maxconn
        if full or subject in firing:
            most = f" of at most {maxconn}" if maxconn else ""
            yield Finding(
                subject,
                f"{words} has {active}{most} connections",
                EventSeverity.WARNING,
                {"active": active, "maxconn": maxconn},
                full,
            )


def _certificate(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    for name, left in history.now.certificates.items():
        if left < limits.limit or name in firing:
            days = left / _DAY
            when = "has expired" if left < 0 else f"expires in {days:.1f} days"
            yield Finding(
                name,
                f"certificate {name} {when}",
                EventSeverity.ERROR if days < 3 else EventSeverity.WARNING,
                {"days": round(days, 2)},
                left < limits.limit,
            )


def _log_drops(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    then = history.before(WINDOW)
    for path, dropped in history.now.logs.items():
        count = dropped - then.logs.get(path, dropped)
        if count > limits.limit or path in firing:
            yield Finding(
                path,
                f"access log {path} lost {count} lines in the last minute",
                EventSeverity.WARNING,
                {"count": count},
                count > limits.limit,
            )


def _shared_store(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    error = history.now.shared_error
    if error:
        yield Finding("", f"shared store is down: {error}", EventSeverity.ERROR, {"error": error})
    elif firing:
        yield Finding("", "shared store responds", EventSeverity.ERROR, holds=False)


def _list(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    for name, error in history.now.lists.items():
        if error:
            yield Finding(name, f"list {name} is not up to date: {error}", facts={"error": error})
        elif name in firing:
            yield Finding(name, f"list {name} is up to date", holds=False)


def _lag(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
    lag = history.now.lag
    late = lag > limits.limit
    if late or firing:
        why = ": the process is overloaded" if late else ""
        text = f"the reactor of lbproxy is {milliseconds(lag)} late{why}"
        yield Finding("", text, EventSeverity.WARNING, {"seconds": round(lag, 3)}, late)


def _event(kind: str, text: str, severity: EventSeverity) -> Look:
    """Return a rule for single events; its alert lasts until five minutes after the last one."""

    def look(history: History, limits: AlertLimits, firing: Subjects) -> Iterator[Finding]:
        count = history.now.happened.get(kind, 0) - history.before(LONG).happened.get(kind, 0)
        many = count > limits.limit
        if many or firing:
            span = "" if many else " in the last five minutes"
            yield Finding("", text.format(count=count) + span, severity, {"count": count}, many)

    return look


RULES: dict[str, AlertRule] = {
    "error_ratio": AlertRule(
        _error_ratio, "percent", AlertLimits(0.05, 30, 50),
        "share of requests that fail, in a minute"
    ),
    "latency": AlertRule(
        latency, "times", AlertLimits(2, 20, 20), "response time, as a multiple of what is normal"
    ),
    "backend_empty": AlertRule(_backend_empty, "", AlertLimits(0, 2), "a backend has no server"),
    "backend_weak": AlertRule(
        _backend_weak, "percent", AlertLimits(0.5, 30),
        "minimum share of a backend's servers that are up"
    ),
    "queue": AlertRule(_queue, "percent", AlertLimits(0.5, 10),
        "share of a queue's places that are taken"),
    "sent_away": AlertRule(
        _sent_away, "int", AlertLimits(0, 0), "requests rejected because of a full "
        "queue, in a minute"
    ),
    "connections": AlertRule(
        _connections, "percent", AlertLimits(0.9, 10), "share of maxconn that is taken"
    ),
    "certificate": AlertRule(
        _certificate, "duration", AlertLimits(14 * _DAY, 0), "time left to a certificate"
    ),
    "attack": AlertRule(
        attack, "times", AlertLimits(10, 10, 100),
        "refused and new connections and 4xx responses, as a multiple of what is normal",
    ),
    "log_drops": AlertRule(
        _log_drops, "int", AlertLimits(0, 0), "access log lines lost, in a minute"
    ),
    "hit_ratio": AlertRule(
        hit_ratio, "percent", AlertLimits(0.2, 60, 50),
        "fall of a cache's hit ratio below the normal one"
    ),
    "shared_store": AlertRule(
        _shared_store, "", AlertLimits(0, 5), "the store of [shared] does not respond"
    ),
    "list": AlertRule(
        _list, "", AlertLimits(0, 5), "a new version of a list of addresses cannot be used"
    ),
    "lag": AlertRule(_lag, "duration", AlertLimits(0.5, 5), "delay of the reactor"),
    "worker_died": AlertRule(
        _event("worker_died", "worker processes died: {count}", EventSeverity.ERROR), "int",
        AlertLimits(0, 0),
        "worker processes that died, in five minutes",
    ),
    "reload_refused": AlertRule(
        _event("reload_refused", "new configurations refused: {count}", EventSeverity.WARNING),
        "int", AlertLimits(0, 0), "new configurations that were refused, in five minutes",
    ),
}  # fmt: skip
"""Name -> rule, in the order of the documentation."""
