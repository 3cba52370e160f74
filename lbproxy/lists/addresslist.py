"""PURE. A named list of addresses in use: the content of its source, and the changes of
operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lbproxy.guard.addresses import address_number
from lbproxy.lists.prefixes import Bounds, PrefixSet
from lbproxy.lists.ranges import RangeSet
from lbproxy.lists.text import bounds_of, bounds_text

__all__ = ["MOST_EDITS", "AddressList"]

MOST_EDITS = 100_000
"""Maximum number of additions, and of removals, by operators."""


class AddressList:
    """A list of addresses: ``"192.0.2.7" in addresses``.

    ``loaded``: whether it has had contents at all. A list that is not loaded is empty. ``added``
    and ``removed``: changes of operators, which take precedence over the source. No address is in
    both: the latest change of an operator replaces earlier ones. ``changed``: called after each
    change.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.loaded = False
        self.source = PrefixSet()
        self.added: dict[str, Bounds] = {}
        self.removed: dict[str, Bounds] = {}
        self.changed: list[Callable[[], None]] = []
        self.version = 0
        self._plus = RangeSet()
        self._minus = RangeSet()

    def __contains__(self, ip: str) -> bool:
        return self.has(address_number(ip))

    def __bool__(self) -> bool:
        return bool(len(self.source) or self.added)

    def has(self, number: int) -> bool:
        """Return whether an address is in the list (see :meth:`PrefixSet.has`)."""
        if not (self.added or self.removed):
            return self.source.has(number)
        return self._plus.has(number) or (self.source.has(number) and not self._minus.has(number))

    def load(self, prefixes: PrefixSet) -> None:
        """Replace the content of the source. Changes of operators stay."""
        self.source = prefixes
        self.loaded = True
        self._tell()

    def add(self, text: str) -> None:
        """Add an address, a prefix or a range. Raises ValueError."""
        bounds = self.bounds_for(text, self.added)
        if self._minus.overlaps(bounds):
            _take_out(self.removed, bounds)
            self._minus.remove(bounds)
        self.added[text] = bounds
        self._plus.add(bounds)
        self._edited()

    def remove(self, text: str) -> None:
        """Remove an address, a prefix or a range. Raises ValueError."""
        bounds = self.bounds_for(text, self.removed)
        own = self.added.pop(text, None) is not None
        if self._plus.overlaps(bounds):
            _take_out(self.added, bounds)
            self._plus.remove(bounds)
        if not own or self.source.overlaps(bounds):
            self.removed[text] = bounds
            self._minus.add(bounds)
        self._edited()

    def edit(self, added: Iterable[str], removed: Iterable[str]) -> None:
        """Replace all changes of operators. Invalid addresses are ignored."""
        self.added = {text: found for text in added if (found := bounds_of(text)) is not None}
        self.removed = {text: found for text in removed if (found := bounds_of(text)) is not None}
        self._plus = RangeSet(self.added.values())
        self._minus = RangeSet(self.removed.values())
        self._edited()

    def bounds_for(self, text: str, edits: dict[str, Bounds]) -> Bounds:
        """Return the bounds of an edit. Raises ValueError if it is invalid, or exceeds the
        limit.
        """
        found = bounds_of(text)
        if found is None:
            raise ValueError(f"{text!r} is neither an address, a prefix nor a range")
        if len(edits) >= MOST_EDITS and text not in edits:
            raise ValueError(f"a list has at most {MOST_EDITS} changes; add them to its source")
        return found

    def _edited(self) -> None:
        self.loaded = self.loaded or bool(self.added)
        self._tell()

    def _tell(self) -> None:
        self.version += 1
        for call in list(self.changed):
            call()


def _take_out(edits: dict[str, Bounds], out: Bounds) -> None:
    """Remove the addresses of ``out`` from ``edits``. The rest of an edit becomes a range."""
    low, high = out
    met = [text for text, (first, last) in edits.items() if first <= high and last >= low]
    for text in met:
        first, last = edits.pop(text)
        for piece in ((first, low - 1), (high + 1, last)):
            if piece[0] <= piece[1]:
                edits[bounds_text(piece)] = piece
