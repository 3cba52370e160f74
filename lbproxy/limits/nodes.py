"""PURE. Rates and counts that several nodes share through a store.

Each node decides by its own table (:mod:`~lbproxy.limits.bucket`, :mod:`~lbproxy.limits.window`),
so that no request waits for the store. It sends its charges to the store a few times a second. The
answer contains the charges of all nodes, which the node copies into its table.

Guarantees for ``N`` nodes that each exchange within ``d`` seconds: within any ``t`` seconds at most
``amount / seconds * (t + N * d) + N * burst`` units of a key pass. A key may use a burst at each
node before the nodes exchange; the excess then becomes a debt. A unit is refused only if the nodes
together have used up the rate up to ``d`` seconds ago. Nodes that cannot reach the store apply the
rate separately; the units of that time stay unknown to the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal, Protocol

from attrs import define, field

__all__ = [
    "BATCH",
    "MOST_NOTED",
    "BucketTable",
    "NodeCounter",
    "NodeCounts",
    "Noted",
    "WindowTable",
]

BATCH: Final = 500
"""Maximum number of keys in one exchange."""

MOST_NOTED: Final = 20_000
"""Maximum number of keys that wait for an exchange. The use of further ones stays unknown to other
nodes.
"""


class BucketTable(Protocol):
    """The table of a :class:`NodeCounter` of kind ``bucket``."""

    def settle(self, ident: int, debt: float, now: float) -> None:
        """See :meth:`lbproxy.limits.bucket.Buckets.settle`."""


class WindowTable(Protocol):
    """The table of a :class:`NodeCounter` of kind ``window``."""

    def settle(self, ident: int, counts: Mapping[int, float], now: float) -> None:
        """See :meth:`lbproxy.limits.window.WindowCounts.settle`."""


@define(eq=False)
class NodeCounter:
    """One limit, track or ban, whose keys all nodes count together.

    ``name``: the same at all nodes that share the counts. ``unit``: seconds in which a bucket
    regains one unit, or the length of a window's slice. ``table``: a :class:`BucketTable` or a
    :class:`WindowTable`.
    """

    name: str
    kind: Literal["bucket", "window"]
    table: Any
    unit: float

    def digest(self, key: str) -> str:
        """Return the name of ``key`` in the store, which does not reveal the key."""
        text = f"{self.name}\0{key}".encode("utf-8", "replace")
        return blake2b(text, digest_size=16).hexdigest()


@define(eq=False)
class Noted:
    """Use of one key that the store does not know yet.

    ``forget``: the store must delete the earlier use; for windows only.
    """

    counter: NodeCounter
    key: str
    ident: int
    amount: float = 0.0
    forget: bool = False


@define(eq=False)
class NodeCounts:
    """The use of keys in this process that the store does not know yet.

    ``dropped``: keys whose use was not recorded, because there were too many.
    """

    most: int = MOST_NOTED
    dropped: int = 0
    _noted: dict[tuple[int, int], Noted] = field(factory=dict)

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, counter: NodeCounter, key: str, ident: int, amount: float) -> None:
        """Record the use of ``amount`` units by ``key``; 0 only requests the use by others."""
        place = (id(counter), ident)
        found = self._noted.get(place)
        if found is None:
            if len(self._noted) >= self.most:
                self.dropped += 1
                return
            found = self._noted[place] = Noted(counter, key, ident)
        found.amount += amount

    def forget(self, counter: NodeCounter, key: str, ident: int) -> None:
        """Delete the use of ``key`` at all nodes."""
        self._noted.pop((id(counter), ident), None)
        self.note(counter, key, ident, 0.0)
        found = self._noted.get((id(counter), ident))
        if found is not None:
            found.forget = True

    def take(self, kind: str) -> list[Noted]:
        """Return at most :data:`BATCH` uses to send now."""
        places = []
        for place, one in self._noted.items():
            if one.counter.kind == kind:
                places.append(place)
                if len(places) == BATCH:
                    break
        return [self._noted.pop(place) for place in places]

    def clear(self) -> None:
        """Drop all records, because the store is unreachable."""
        self._noted.clear()

    def settle_buckets(self, sent: Sequence[Noted], debts: Iterable[float], now: float) -> None:
        """Copy the debts of buckets in seconds, and add the charges since they were sent."""
        for one, debt in zip(sent, debts, strict=True):
            later = self._noted.get((id(one.counter), one.ident))
            more = later.amount * one.counter.unit if later is not None else 0.0
            if debt + more > 0:
                one.counter.table.settle(one.ident, debt + more, now)

    def settle_windows(
        self, sent: Sequence[Noted], rows: Iterable[Mapping[int, float]], now: float
    ) -> None:
        """Copy the counts of windows by age in slices, and add the counts since they were sent."""
        for one, row in zip(sent, rows, strict=True):
            counts = dict(row)
            later = self._noted.get((id(one.counter), one.ident))
            if later is not None and later.forget:
                continue
            if later is not None and later.amount:
                counts[0] = counts.get(0, 0.0) + later.amount
            one.counter.table.settle(one.ident, counts, now)
