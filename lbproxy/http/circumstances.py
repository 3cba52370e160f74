"""PURE. Conditions about properties outside the head: scheme, port, time, and the status of the
response.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from lbproxy.http.context import Compiled, RouteContext

__all__ = [
    "clock_span",
    "compile_port",
    "compile_scheme",
    "compile_status",
    "compile_time",
    "week_minutes",
]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_CLOCK = re.compile(r"([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])")
_DAYS = re.compile(rf"({'|'.join(DAYS)})(?:-({'|'.join(DAYS)}))?")
_STATUS = re.compile(r"[1-5](?:[0-9][0-9]|xx)")


def clock_span(text: str) -> tuple[int, int] | None:
    """Return ``22:00-06:00`` as minutes after midnight; None for other text.

    The end may be ``24:00``.
    """
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    return (start, end) if start != end and start < 1440 and end <= 1440 else None


def compile_scheme(args: Sequence[str]) -> Compiled:
    """Compile ``scheme http|https``: the scheme of the client, or the one reported by a trusted
    proxy.
    """
    for arg in args:
        if arg not in ("http", "https"):
            raise ValueError(f"scheme {arg!r} is neither http nor https")
    wanted = frozenset(args)

    def scheme(context: Any) -> str:
        return str(context.scheme)

    return (
        lambda context, path: context.request is not None and scheme(context) in wanted,
        lambda context, path: scheme(context),
    )


def compile_port(args: Sequence[str]) -> Compiled:
    """Compile ``port N...``: the port that the client connected to."""
    for arg in args:
        if not re.fullmatch(r"[0-9]{1,5}", arg) or not 1 <= int(arg) <= 65535:
            raise ValueError(f"port {arg!r} is not a port; it must be 1 to 65535")
    wanted = frozenset(int(arg) for arg in args)
    return (
        lambda context, path: context.info.local_port in wanted,
        lambda context, path: str(context.info.local_port),
    )


def _began(context: RouteContext) -> float:
    """Return the Unix time at which the traffic started.

    While traffic runs, ``started`` is a moment of the monotonic clock, which counts from the boot
    of the machine, and ``epoch`` of the frontend's wheel is the difference. Records and dry runs
    have Unix time.
    """
    frontend = getattr(context, "frontend", None)
    epoch: float = 0.0 if frontend is None else frontend.wheel.epoch
    return context.started + epoch if context.started < epoch else context.started


def _spans_and_days(args: Sequence[str]) -> tuple[list[tuple[int, int]], frozenset[int]]:
    """Return the spans in minutes, and the days; all days if none is named."""
    spans: list[tuple[int, int]] = []
    days: set[int] = set()
    for arg in args:
        span, found = clock_span(arg), _DAYS.fullmatch(arg)
        if span is not None:
            spans.append(span)
        elif found is not None:
            first, last = DAYS.index(found[1]), DAYS.index(found[2] or found[1])
            days |= {(first + i) % 7 for i in range((last - first) % 7 + 1)}
        else:
            raise ValueError(
                f"time {arg!r} is neither 22:00-06:00 nor a day such as mon or sat-sun"
            )
    return spans, frozenset(days or range(7))


def week_minutes(args: Sequence[str]) -> frozenset[int]:
    """Return the minutes of a week, from Monday at midnight, in which ``time`` with ``args``
    holds.
    """
    spans, on = _spans_and_days(args)
    found: set[int] = set()
    for day in on:
        for start, end in spans or [(0, 1440)]:
            long = end - start if start < end else end - start + 1440
            found |= {(day * 1440 + start + minute) % 10080 for minute in range(long)}
    return frozenset(found)


def compile_time(args: Sequence[str]) -> Compiled:
    """Compile ``time SPAN|DAY...``: in one of the spans and on one of the days, in local time.

    A span that passes midnight belongs to the day on which it begins.
    """
    spans, on = _spans_and_days(args)

    def test(context: RouteContext, path: bytes) -> bool:
        local = time.localtime(_began(context))
        minute, day = local.tm_hour * 60 + local.tm_min, local.tm_wday
        if not spans:
            return day in on
        for start, end in spans:
            if start < end:
                if start <= minute < end and day in on:
                    return True
            elif (minute >= start and day in on) or (minute < end and (day - 1) % 7 in on):
                return True
        return False

    def shown(context: RouteContext, path: bytes) -> str:
        return time.strftime("%a %H:%M", time.localtime(_began(context))).lower()

    return test, shown


def compile_status(args: Sequence[str]) -> Compiled:
    """Compile ``status 404 5xx``: the status of the response."""
    wanted: set[int] = set()
    for arg in args:
        if not _STATUS.fullmatch(arg):
            raise ValueError(
                f"status {arg!r} is neither a status such as 404 nor a class such as 5xx"
            )
        first = int(arg[0]) * 100
        wanted |= set(range(first, first + 100)) if arg.endswith("xx") else {int(arg)}

    def status(context: Any) -> int:
        return 0 if context.response is None else int(context.response.status)

    return (
        lambda context, path: status(context) in wanted,
        lambda context, path: str(status(context) or "not known"),
    )
