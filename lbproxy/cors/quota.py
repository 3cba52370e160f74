"""PURE. Quotas of keys and origins, and their use.

The counts are :class:`~lbproxy.limits.cells.Cells`, in memory that processes may share and a file
may keep, so time is seconds since the epoch. A quota is a sliding window
(:mod:`lbproxy.limits.window`): within any ``seconds`` at most ``amount`` requests start. Bytes are
counted as they are forwarded. A call that exceeds the quota of bytes is aborted, so a quota is
exceeded by at most the size of one read.
"""

from __future__ import annotations

from typing import Final

from attrs import define, frozen

from lbproxy.limits.cells import WAYS, Cells
from lbproxy.limits.rate import Rate
from lbproxy.limits.window import SLICES, Windows

__all__ = ["KEPT_S", "Allowance", "Quota", "QuotaExceeded", "Usage", "UsageTable"]

KEPT_S: Final = 400 * 86400.0
"""Seconds for which the usage of a key is kept after its last use."""


@frozen
class Quota:
    """Limits of a key or an origin.  None and 0: no limit."""

    requests: Rate | None = None
    bytes: Rate | None = None
    concurrent: int = 0

    def __bool__(self) -> bool:
        return self.requests is not None or self.bytes is not None or self.concurrent > 0


@define
class Usage:
    """Counts since the first use.

    ``requests`` includes ``cached`` (answered by the cache) and ``failed`` (the target could not be
    reached, or sent no valid response), but not ``refused``. ``first`` and ``last``: seconds since
    the epoch, 0 if never used.
    """

    requests: float = 0.0
    cached: float = 0.0
    refused: float = 0.0
    failed: float = 0.0
    bytes_in: float = 0.0
    bytes_out: float = 0.0
    first: float = 0.0
    last: float = 0.0


_WORDS: Final = ("requests", "cached", "refused", "failed", "bytes_in", "bytes_out", "first")


@frozen
class QuotaExceeded:
    """The quota that refuses: ``requests``, ``bytes`` or ``concurrent``, of a ``key`` or an
    ``origin``. ``seconds`` until it allows a request again.
    """

    unit: str
    owner: str
    seconds: float


class UsageTable:
    """The totals of subjects. A subject is a key or an origin."""

    def __init__(self, cells: Cells) -> None:
        if cells.extra != SLICES:
            raise ValueError("cells of another kind")
        self.cells = cells

    def add(self, subject: str, now: float, **counts: float) -> None:
        """Add to the counts of a subject, which are fields of :class:`Usage`."""
        cells = self.cells
        at = cells.place(cells.ident(f"total\0{subject}"), now)
        words = cells.words
        if not words[at]:
            words[at + WAYS * (1 + _WORDS.index("first"))] = now
        words[at] = now + KEPT_S
        for name, count in counts.items():
            words[at + WAYS * (1 + _WORDS.index(name))] += count

    def read(self, subject: str) -> Usage:
        """Return the counts of a subject."""
        cells = self.cells
        at = cells.find(cells.ident(f"total\0{subject}"))
        if at < 0:
            return Usage()
        found = Usage(last=cells.words[at] - KEPT_S)
        for index, name in enumerate(_WORDS):
            setattr(found, name, cells.words[at + WAYS * (1 + index)])
        return found


class Allowance:
    """The quota of one subject. ``owner``: its word in a :class:`QuotaExceeded`."""

    def __init__(self, cells: Cells, subject: str, quota: Quota, owner: str) -> None:
        self.cells = cells
        self.subject = subject
        self.quota = quota
        self.owner = owner
        self._requests = _window(cells, "requests", quota.requests)
        self._bytes = _window(cells, "bytes", quota.bytes)
        self._ident_requests = 0 if self._requests is None else self._requests.ident(subject)
        self._ident_bytes = 0 if self._bytes is None else self._bytes.ident(subject)

    def refusal(self, now: float) -> QuotaExceeded | None:
        """Return why a request may not start now, None if it may. Nothing is charged."""
        if self._requests is not None:
            wait = self._requests.ask(self._ident_requests, 1.0, now)
            if wait > 0:
                return QuotaExceeded("requests", self.owner, wait)
        if self._bytes is not None:
            wait = self._bytes.ask(self._ident_bytes, 1.0, now)
            if wait > 0:
                return QuotaExceeded("bytes", self.owner, wait)
        return None

    def begin(self, now: float) -> None:
        """Charge one request."""
        if self._requests is not None:
            self._requests.charge(self._ident_requests, 1.0, now)

    def passed(self, count: int, now: float) -> bool:
        """Charge forwarded bytes. Return whether more may be forwarded."""
        window = self._bytes
        if window is None:
            return True
        window.charge(self._ident_bytes, float(count), now)
        return window.left(self._ident_bytes, now) >= 0

    def used(self, now: float) -> dict[str, float]:
        """Return the current use of each quota by its unit."""
        found = {}
        for unit, window in (("requests", self._requests), ("bytes", self._bytes)):
            if window is not None:
                found[unit] = window.rate.burst - window.left(window.ident(self.subject), now)
        return found


def _window(cells: Cells, unit: str, rate: Rate | None) -> Windows | None:
    """Return the window of a rate. A window of another length has its own counts."""
    return None if rate is None else Windows(cells, f"{unit}:{rate.seconds!r}", rate)
