"""PURE. The alert rules that compare with normal levels: latency, attacks, hit ratios.

Each rule keeps a :class:`~lbproxy.observe.samples.Baseline` for each subject.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from lbproxy.observe.events import EventSeverity
from lbproxy.observe.finding import WINDOW, AlertLimits, Finding, milliseconds
from lbproxy.observe.samples import Baseline, History

__all__ = ["attack", "hit_ratio", "latency"]

_STEP = 10.0  # seconds of one observation of a baseline


def latency(history: History, limits: AlertLimits) -> Iterator[Finding]:
    """Return backends whose mean response time exceeds ``limit`` times the usual one."""
    now = history.now
    for name, backend in now.backends.items():
        line = history.baseline(f"latency {name}")
        count = backend.timed - line.total[0]
        if now.at - line.at >= _STEP and (count >= limits.volume or count < 0):
            mean = (backend.seconds - line.total[1]) / count if count > 0 else 0.0
            first = line.at == -math.inf or count < 0  # counters were reset: nothing to compare
            line.at, line.total = now.at, (backend.timed, backend.seconds)
            if not first:
                high = line.known and mean > max(
                    line.bound, limits.limit * line.mean, line.mean + 0.02
                )
                line.learn(mean, high)
        elif now.at - line.at >= WINDOW and line.at > -math.inf:
            line.high = False  # too little traffic for a conclusion
            line.at, line.total = now.at, (backend.timed, backend.seconds)
        if line.high:
            yield Finding(
                name,
                f"backend {name} answers in {milliseconds(line.last)};"
                f" normal is {milliseconds(line.mean)}",
                EventSeverity.WARNING,
                {"seconds": round(line.last, 6), "normal": round(line.mean, 6)},
            )


def hit_ratio(history: History, limits: AlertLimits) -> Iterator[Finding]:
    """Return caches whose hit ratio is lower than usual by more than ``limit``."""
    now = history.now
    for name, cache in now.caches.items():
        line = history.baseline(f"hit_ratio {name}")
        count = cache.asked - line.total[0]
        if now.at - line.at >= _STEP and (count >= limits.volume or count < 0):
            first = line.at == -math.inf or count < 0  # counters were reset: nothing to compare
            share = (cache.answered - line.total[1]) / count if count > 0 else 0.0
            line.at, line.total = now.at, (cache.asked, float(cache.answered))
            if not first:
                line.learn(share, line.known and share < line.mean - limits.limit)
        elif now.at - line.at >= WINDOW and line.at > -math.inf:
            line.high = False  # too little traffic for a conclusion
            line.at, line.total = now.at, (cache.asked, float(cache.answered))
        if line.high:
            yield Finding(
                name,
                f"cache {name} answers {line.last:.0%} of its requests; normal is {line.mean:.0%}",
                EventSeverity.WARNING,
                {"ratio": round(line.last, 4), "normal": round(line.mean, 4)},
            )


def _watch_rate(line: Baseline, total: int, at: float, limit: float, volume: int) -> None:
    """Learn the rate of a counter every :data:`_STEP` seconds.

    The rate is high if it exceeds ``limit`` times the mean and at least ``volume`` events occurred
    in that time.
    """
    if at - line.at < _STEP:
        return
    count, span = total - line.total[0], at - line.at
    line.at, line.total = at, (total, 0.0)
    if count >= 0 and span < math.inf:  # else there is nothing to compare with
        rate = count / span
        enough = rate * _STEP >= volume
        line.learn(rate, line.known and enough and rate > limit * line.mean)


def attack(history: History, limits: AlertLimits) -> Iterator[Finding]:
    """Return frontends with many refusals and 4xx, or many new connections.

    This means more than ``limit`` times the usual number, or a large number of refusals mostly from
    one address. New connections are not errors, so ten times ``volume`` of them are needed.
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
