"""DATA. The quotas of one CORS proxy: calls are admitted, and their bytes are counted as they pass.

All quotas of a call are checked before any is charged. All processes share the counts: rates in the
usage file, and concurrent calls in :class:`~lbproxy.sharing.contracts.Shared`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final

from attrs import define

from lbproxy.cors.keys import KeyRecord
from lbproxy.cors.quota import Allowance, Quota, QuotaExceeded
from lbproxy.limits.atonce import AtOnce
from lbproxy.proxy.features.corsproxy.usagefile import UsageFile

__all__ = ["Admitted", "Quotas", "origin_subject"]

_KNOWN: Final = 4096  # number of subjects whose windows are kept


@define(eq=False)
class Admitted:
    """A call that counts against quotas.

    ``subjects``: those of its key and its origin, whose usage is counted. ``limited``: the quotas
    that apply.
    """

    subjects: tuple[str, ...]
    limited: tuple[Allowance, ...]
    over: bool = False
    """Whether a quota of bytes is exceeded."""


class Quotas:
    """The quotas of one CORS proxy.

    ``at_once``: counts running calls of all frontends of this process. ``origin``: the quota of
    each origin. ``wall``: seconds since the epoch. ``listed``: origins whose usage is counted. A
    program can invent any number of other origins, whose counts would displace those of its quota.
    """

    def __init__(
        self,
        usage: UsageFile,
        at_once: AtOnce,
        origin: Quota,
        wall: Callable[[], float],
        listed: Collection[str] = (),
    ) -> None:
        self.usage = usage
        self._origin = origin
        self._wall = wall
        self._listed = frozenset(listed)
        self._at_once = at_once
        self._known: OrderedDict[str, Allowance] = OrderedDict()

    def admit(
        self, record: KeyRecord | None, origin: str | None
    ) -> Admitted | QuotaExceeded | None:
        """Count a call, or return the quota that refuses it; None if nothing counts it."""
        subjects: list[str] = []
        limited: list[Allowance] = []
        if record is not None:
            subjects.append(record.sha256)
            if record.quota:
                limited.append(self.allowance(record.sha256, record.quota, "key"))
        if origin is not None and self._origin:
            subject = origin_subject(origin)
            limited.append(self.allowance(subject, self._origin, "origin"))
            if origin in self._listed:
                subjects.append(subject)
        if not subjects and not limited:
            return None
        now = self._wall()
        with self.usage.locked() as table:
            refusal = self._refusal(limited, now)
            if refusal is None:
                for one in limited:
                    one.begin(now)
            for subject in subjects:
                table.add(subject, now, **{"requests" if refusal is None else "refused": 1.0})
        return Admitted(tuple(subjects), tuple(limited)) if refusal is None else refusal

    def _refusal(self, limited: list[Allowance], now: float) -> QuotaExceeded | None:
        """Check all quotas; occupy places in those of concurrent calls if none refuses."""
        for one in limited:
            refusal = one.refusal(now)
            if refusal is not None:
                return refusal
        taken: list[str] = []
        for one in limited:
            if not one.quota.concurrent:
                continue
            self._at_once.most = one.quota.concurrent
            if not self._at_once.take(one.subject):
                for subject in taken:
                    self._at_once.give_back(subject)
                return QuotaExceeded("concurrent", one.owner, 1.0)
            taken.append(one.subject)
        return None

    def passed(self, call: Admitted, bytes_in: int, bytes_out: int) -> bool:
        """Count bytes of a call; return whether it may continue."""
        now = self._wall()
        with self.usage.locked() as table:
            for subject in call.subjects:
                table.add(subject, now, bytes_in=float(bytes_in), bytes_out=float(bytes_out))
            for one in call.limited:
                if not one.passed(bytes_in + bytes_out, now):
                    call.over = True
        return not call.over

    def ended(self, call: Admitted, outcome: str) -> None:
        """Release the places of a call.

        ``outcome``: ``cached`` or ``failed``, "" for any other.
        """
        for one in call.limited:
            if one.quota.concurrent:
                self._at_once.give_back(one.subject)
        if outcome:
            with self.usage.locked() as table:
                for subject in call.subjects:
                    table.add(subject, self._wall(), **{outcome: 1.0})

    def allowance(self, subject: str, quota: Quota, owner: str) -> Allowance:
        """Return the windows of a subject."""
        found, cells = self._known.get(subject), self.usage.table.cells
        if found is None or found.quota != quota or found.cells is not cells:
            found = self._known[subject] = Allowance(cells, subject, quota, owner)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return found

    def running(self) -> dict[str, int]:
        """Return the running calls in this process by subject with a quota of concurrent calls."""
        return dict(self._at_once.held)


def origin_subject(origin: str) -> str:
    """Return the subject of an origin, for :class:`~lbproxy.cors.quota.UsageTable`."""
    return f"origin:{origin}"
