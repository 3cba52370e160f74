"""PURE. The alert rules that compare with normal levels: latency, attacks, hit ratios.

Each rule keeps a :class:`~lbproxy.observe.samples.Baseline` for each subject.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from lbproxy.observe.events import EventSeverity
from lbproxy.observe.finding import WINDOW, AlertLimits, Finding, milliseconds
from lbproxy.observe.samples import Baseline, History

__all__ = ["attack", "hit_ratio", "latency"]

_STEP = 10.0  # seconds of one observation of a baseline


def latency(history: History, limits: AlertLimits, firing: Collection[str]) -> Iterator[Finding]:
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
            line.rest()  # too little traffic for a conclusion
            line.at, line.total = now.at, (backend.timed, backend.seconds)
        if line.last is None and name in firing:
            yield _too_few(f"backend {name}", name, limits)
        elif line.last is not None and (line.high or name in firing):
            yield Finding(
                name,
                f"backend {name} answers in {milliseconds(line.last)};"
                f" normal is {milliseconds(line.mean)}",
                EventSeverity.WARNING,
                {"seconds": round(line.last, 6), "normal": round(line.mean, 6)},
                line.high,
            )


def _too_few(words: str, name: str, limits: AlertLimits) -> Finding:
    """Return the finding of a subject whose figures are unknown for lack of traffic."""
    text = f"{words} had fewer than {limits.volume} requests in the last minute"
    return Finding(name, text, holds=False)


def hit_ratio(history: History, limits: AlertLimits, firing: Collection[str]) -> Iterator[Finding]:
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
            line.rest()  # too little traffic for a conclusion
            line.at, line.total = now.at, (cache.asked, float(cache.answered))
        if line.last is None and name in firing:
            yield _too_few(f"cache {name}", name, limits)
        elif line.last is not None and (line.high or name in firing):
            yield Finding(
                name,
                f"cache {name} answers {line.last:.0%} of its requests; normal is {line.mean:.0%}",
                EventSeverity.WARNING,
                {"ratio": round(line.last, 4), "normal": round(line.mean, 4)},
                line.high,
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


def attack(history: History, limits: AlertLimits, firing: Collection[str]) -> Iterator[Finding]:
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
        yield from _rates(name, line, coming, fires=name in firing)
        yield from _worst_clients(name, frontend.worst_client, limits, firing)


def _rates(name: str, line: Baseline, coming: Baseline, *, fires: bool) -> Iterator[Finding]:
    """Return the finding about the refusals (``line``) or the new connections of a frontend."""
    bad, new = line.last or 0.0, coming.last or 0.0
    refused = f"{bad:.0f} bad requests and refused connections a second; normal is {line.mean:.1f}"
    if line.high:
        text, facts = refused, {"rate": round(bad, 2), "normal": round(line.mean, 2)}
    elif coming.high or fires:
        text = f"{new:.0f} new connections a second; normal is {coming.mean:.1f}"
        facts = {"rate": round(new, 2), "normal": round(coming.mean, 2)}
    else:
        return
    high = line.high or coming.high
    if not high:
        text = f"{refused}; {text}"
    yield Finding(name, f"frontend {name}: {text}", EventSeverity.WARNING, facts, high)


def _worst_clients(
    name: str, worst: tuple[str, int] | None, limits: AlertLimits, firing: Collection[str]
) -> Iterator[Finding]:
    """Return the finding about the client with the most refusals, and the clients of ``firing``."""
    least = int(limits.volume * WINDOW / _STEP)
    if worst is not None and worst[1] >= least:
        yield Finding(
            f"{name} {worst[0]}",
            f"frontend {name}: {worst[1]} bad requests and refused connections from {worst[0]} "
            "in a minute",
            EventSeverity.WARNING,
            {"client": worst[0], "count": worst[1]},
        )
    for subject in firing:
        owner, _, client = subject.partition(" ")
        if owner != name or not client or (worst and worst[0] == client and worst[1] >= least):
            continue
        yield Finding(
            subject,
            f"frontend {name}: fewer than {least} bad requests and refused connections from "
            f"{client} in a minute",
            EventSeverity.WARNING,
            {"client": client},
            holds=False,
        )
