"""PURE. Times for the access log. Their text is created once a second, not once a line."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["MILLIS", "clf", "clf_stamp", "rfc3339", "rfc3339_stamp"]

MILLIS = tuple(f".{n:03d}Z" for n in range(1000))
"""The end of an RFC 3339 time for each millisecond."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def rfc3339(second: int) -> str:
    """Return ``2026-11-23T12:46:06`` in UTC, without fraction and zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def clf(second: int) -> str:
    """Return ``23/Nov/2026:12:46:06 +0000`` in UTC, with English months."""
    t = time.gmtime(second)
    return (
        f"{t.tm_mday:02d}/{_MONTHS[t.tm_mon - 1]}/{t.tm_year}:"
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} +0000"
    )


def rfc3339_stamp() -> Callable[[float], str]:
    """Return a function from Unix time to ``2026-11-23T12:46:06.123Z``, which caches the last
    second.
    """
    known = -1
    text = ""

    def stamp(moment: float) -> str:
        nonlocal known, text
        second = int(moment)
        if second != known:
            text = rfc3339(second)
            known = second
        return text + MILLIS[int((moment - second) * 1000)]

    return stamp


def clf_stamp() -> Callable[[float], str]:
    """Return a function from Unix time to :func:`clf`, which caches the last second."""
    known = -1
    text = ""

    def stamp(moment: float) -> str:
        nonlocal known, text
        second = int(moment)
        if second != known:
            text = clf(second)
            known = second
        return text

    return stamp
