"""DATA. The short way of a request past its limits, in compiled code.

Nearly all requests have one key for each limit, and all limits are buckets with room.  They are
asked and charged here, and leave no note.  Every other request goes to
:class:`~lbproxy.proxy.features.limiting.feature.Limiting`, which has all rules and would decide the
same; a test compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lbproxy.limits.bucket import BucketSlot
from lbproxy.proxy.features.limiting.quick import QuickLimit
from lbproxy.proxy.features.limiting.tally import LimitTally

__all__ = ["LimitDesk"]


class LimitDesk:
    """Hooks of phases ``early`` and ``response``.

    ``inner``: the feature.  ``limits``: those of every request; None if they depend on it.
    ``stated``: responses state the limits, so each request needs a note of them.
    """

    def __init__(
        self,
        inner: Any,
        limits: Sequence[QuickLimit] | None,
        now: Callable[[], float],
        stated: bool,
    ) -> None:
        self.inner = inner
        self.patience: float = inner.patience
        self.always: bool = inner.always
        self._limits = limits
        self._tallies: dict[str, LimitTally] = inner.tallies
        self._now = now
        self._stated = stated

    def early(self, traffic: Any) -> Any:
        """Charge a request to its limits; what is not usual goes to the feature."""
        limits = self._limits
        if limits is None:
            limits = self.inner.limits_of(traffic)
        now = self._now()
        slots = _free(limits, traffic, now)
        if slots is None:
            return self.inner.apply(traffic, limits)
        checks: list[Any] = []
        for limit, slot in zip(limits, slots, strict=True):
            if slot is None:
                continue
            self._tallies[limit.name].asked += 1
            limit.charge_one(slot, now)
            if self._stated:
                checks.append(limit.passed(slot))
        if checks:
            self.inner.note(traffic, checks)
        return None

    def response(self, traffic: Any) -> None:
        """State the limits if the request has a note of them."""
        if traffic.vars is not None:
            self.inner.response(traffic)


def _free(limits: Sequence[QuickLimit], traffic: Any, now: float) -> list[BucketSlot | None] | None:
    """Return the slots that have room for a request, None for each limit that does not hold for it;
    None if the request needs the long way.
    """
    slots: list[BucketSlot | None] = []
    try:
        for limit in limits:
            buckets = limit.quick
            word = None if buckets is None else limit.word_of(traffic)
            if buckets is None or word is None:
                return None
            if not word and limit.passes_empty:
                slots.append(None)
                continue
            slot = limit.slot_of(word)
            if slot is None or not buckets.has_one(slot, now):
                return None
            slots.append(slot)
    except BaseException:
        return None  # the long way reports it
    return slots
