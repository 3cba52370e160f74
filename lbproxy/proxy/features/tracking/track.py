"""DATA. The counts of one ``[track NAME]``."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from lbproxy.errors import ProxyError
from lbproxy.limits.nodes import NodeCounter
from lbproxy.limits.window import PARTS, SLICES, WindowCounts
from lbproxy.proxy.feature import Given
from lbproxy.proxy.features.limiting.key import TCP_VARIABLES, Key
from lbproxy.proxy.features.tracking.spec import TrackSpec

__all__ = ["Track"]

_NAMED: Final = 1000  # maximum number of keys kept by name, for display
_LONG: Final = 1000  # characters of a key above which its name is not kept


class Track:
    """A track, shared by all frontends that use it. All processes share the memory of the counts.

    The table of counts has only fingerprints of keys, so each process keeps the names of the last
    keys for display.
    """

    def __init__(self, spec: TrackSpec, given: Given) -> None:
        self._shared = given.shared
        self._nodes = given.nodes
        self._wheel = given.network.wheel
        self.names: OrderedDict[str, None] = OrderedDict()
        self.apply(spec)

    @staticmethod
    def kept(spec: TrackSpec, given: Given) -> Track:
        """Return the existing track of this section, or a new one."""
        return given.keep("track", spec.name, lambda: Track(spec, given))

    def apply(self, spec: TrackSpec) -> None:
        """Apply ``spec``. The counts stay unless the window changes."""
        self.spec = spec
        self.key = Key(spec.key, spec.prefix)
        self._counts: WindowCounts | None = None
        self._counter: NodeCounter | None = None

    def value(self, traffic: Any) -> float:
        """Return the count of the key of ``traffic``, the highest if it has several.

        The counts of other nodes are known shortly after the first query of a key.
        """
        if traffic.request is None and not self.key.variables <= TCP_VARIABLES:
            return 0.0  # the log asks for a connection without a request
        counts, now = self._table(), self._wheel.now()
        highest = 0.0
        for key in self.key.all_of(traffic):
            if key:
                ident = counts.ident(key)
                highest = max(highest, counts.count(ident, now))
                self._note(key, ident, 0.0)
        return highest

    def add(self, traffic: Any, amount: float) -> None:
        """Count ``amount`` for each key of ``traffic``, if it has any."""
        try:
            keys = self.key.all_of(traffic)
        except ProxyError:  # an ambiguous path or too many values: the request gets a 400 anyway
            return
        for key in keys:
            if key:
                self._add(key, amount)

    def _add(self, key: str, amount: float) -> None:
        counts = self._table()
        ident = counts.ident(key)
        counts.add(ident, amount, self._wheel.now())
        self._note(key, ident, amount)
        names = self.names
        if len(key) > _LONG:
            return
        names[key] = None
        names.move_to_end(key)
        if len(names) > _NAMED:
            names.popitem(last=False)

    # -- by name, for operators -----------------------------------------------------------------

    def count(self, key: str) -> float:
        """Return the count of a key in the form that :meth:`written` returns."""
        counts = self._table()
        ident = counts.ident(key)
        self._note(key, ident, 0.0)
        return counts.count(ident, self._wheel.now())

    def set(self, key: str, amount: float) -> None:
        """Set the count of a key to ``amount`` for one window from now; 0 removes the key."""
        counts = self._table()
        ident = counts.ident(key)
        counts.forget(ident)
        if self._nodes is not None and self._counter is not None:
            self._nodes.counts.forget(self._counter, key, ident)
        if amount:
            self._add(key, amount)

    def written(self, text: str) -> str:
        """Return the key for a text from an operator, such as an address."""
        return self.key.written(text)

    def _table(self) -> WindowCounts:
        if self._counts is None:
            name = f"track:{self.spec.name}:{self.spec.window!r}"
            self._counts = WindowCounts(self._shared.cells(SLICES), name, self.spec.window)
            if self._nodes is not None and self.spec.nodes:
                unit = self.spec.window / PARTS
                self._counter = NodeCounter(name, "window", self._counts, unit)
        return self._counts

    def _note(self, key: str, ident: int, amount: float) -> None:
        """Send the count to other nodes, and request theirs."""
        if self._nodes is not None and self._counter is not None:
            self._nodes.counts.note(self._counter, key, ident, amount)
