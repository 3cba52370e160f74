"""DATA. One ``[limit NAME]`` in use: its counts, and its waiting requests."""

from __future__ import annotations

from typing import Any, Final

from lbproxy.limits.asking import Method
from lbproxy.limits.atonce import AtOnce
from lbproxy.limits.bucket import Buckets, BucketSlot
from lbproxy.limits.nodes import NodeCounter
from lbproxy.limits.rate import Rate
from lbproxy.limits.window import PARTS, SLICES, Windows
from lbproxy.proxy.feature import Given
from lbproxy.proxy.features.limiting.key import FunctionKey, Key
from lbproxy.proxy.features.limiting.quick import QuickLimit
from lbproxy.proxy.features.limiting.spec import LimitSpec
from lbproxy.sharing.contracts import Nodes, Shared, SharedStateError

__all__ = ["LATE", "Limit", "LimitCheck"]

LATE: Final = ("bytes", "errors")
"""Units that are charged when a request or a session ends."""

_NAMED: Final = 100  # refused keys that are counted by name
_CARRIED: Final = 86_400.0  # seconds for which debts at an old rate are looked for, at least
_MOVING: Final = 60.0  # seconds in which all processes have taken over another rate


class LimitCheck:
    """A limit that applies to a request, and its key.

    ``method`` and ``at_once``: the objects that were checked; the limit may have others when the
    request ends.
    """

    __slots__ = ("at_once", "ident", "key", "limit", "method", "wait")

    def __init__(
        self,
        limit: Limit,
        key: str,
        ident: int,
        wait: float = 0.0,
        method: Method | None = None,
        at_once: AtOnce | None = None,
    ) -> None:
        self.limit = limit
        self.key = key
        self.ident = ident
        self.wait = wait
        self.method = method
        self.at_once = at_once


class Limit(QuickLimit):
    """Shared by all frontends and routes that name it.  ``refused``: by key, of the last keys.

    It is not compiled, so that it can be referred to weakly.
    """

    def __init__(self, spec: LimitSpec, shared: Shared, nodes: Nodes | None = None) -> None:
        super().__init__(spec.name, self.key_of(spec), spec.prefix)
        self._shared = shared
        self._nodes = nodes
        self._counter: NodeCounter | None = None
        self._places: AtOnce | None = None  # also held from before it had a rate
        self.waiting: dict[str, int] = {}
        self.held = 0
        self.refused: dict[str, int] = {}
        self.gates: dict[str, Any] = {}  # by key, while traffic of a limit with delay runs
        self.method: Method | None = None
        self._before: Method | None = None
        self._changed = 0.0
        self.apply(spec, 0.0)

    @staticmethod
    def kept(spec: LimitSpec, given: Given) -> Limit:
        """Return the existing limit of this name, or a new one."""
        return given.keep("limit", spec.name, lambda: Limit(spec, given.shared, given.nodes))

    @staticmethod
    def key_of(spec: LimitSpec) -> Key:
        """Return the key of a section."""
        if spec.key_function is not None:
            return FunctionKey(spec.key_function.function, spec.prefix)
        return Key(spec.key, spec.prefix)

    def apply(self, spec: LimitSpec, now: float) -> None:
        """Apply ``spec`` from ``now`` on.

        The use of keys is kept. If the rate changes, it is kept as a share of the burst.
        """
        before = self.method
        self.spec = spec
        self.name = spec.name
        self.key = self.key_of(spec)
        self.method = None
        self._counter = None
        at_once: AtOnce | None = None
        if spec.rate is not None:
            self.method = self._method_of(spec, spec.rate)
            if self._nodes is not None and spec.nodes:
                self._counter = _counter_of(spec, self.method)
        else:
            at_once = self._places = self._places or AtOnce(self._shared, spec.name, 0)
            at_once.most = spec.concurrent
            nodes = self._nodes if spec.nodes else None
            at_once.join(None if nodes is None else nodes.places)
        self.at_once = at_once
        if before is not None and (
            self.method is None
            or type(before) is not type(self.method)
            or before.rate != self.method.rate
        ):
            self._before, self._changed = before, now
        self.late = spec.unit in LATE
        self.cost = 0.0 if self.late else 1.0
        self.use(spec.name, self.key, spec.prefix, spec.empty == "pass")
        self._set_quick()

    def _set_quick(self) -> None:
        nodes, method = self._nodes, self.method
        closed = nodes is not None and self.spec.nodes and self.spec.on_error == "closed"
        long = self.late or closed or self._before is not None
        buckets = method if isinstance(method, Buckets) and not long else None
        self.set_quick(buckets, None if nodes is None else nodes.counts, self._counter)

    def passed(self, slot: BucketSlot) -> LimitCheck:
        """Return what :meth:`ask` returned for a request that has passed."""
        return LimitCheck(self, slot.key, slot.ident, 0.0, self.method)

    def ask(self, key: str, now: float) -> LimitCheck:
        """Check one more use of ``key``. ``wait`` of the result is 0 if it is allowed."""
        if self.method is None:
            assert self.at_once is not None
            self._require_nodes()
            wait = 0.0 if self.at_once.room(key) > 0 else 1.0
            return LimitCheck(self, key, 0, wait, None, self.at_once)
        ident = self.method.ident(key)
        if self._before is not None:
            self._carry(self._before, self.method, key, now)
        if self._counter is not None:
            self._ask_nodes(self._counter, key, ident)
        return LimitCheck(self, key, ident, self.method.ask(ident, 1.0, now), self.method)

    def charge(self, one: LimitCheck, cost: float, now: float) -> None:
        """Charge ``cost`` for a checked use, at all nodes."""
        method, counter = one.method, self._counter
        if method is None:
            return
        method.charge(one.ident, cost, now)
        if counter is None or self._nodes is None:
            return
        # a reload creates new objects; with the same rate they have the same cells
        if type(method) is type(counter.table) and method.rate == counter.table.rate:
            self._nodes.counts.note(counter, one.key, one.ident, cost)

    def _ask_nodes(self, counter: NodeCounter, key: str, ident: int) -> None:
        """Request the charges of other nodes, for the next request."""
        assert self._nodes is not None
        self._require_nodes()
        if self.late:
            self._nodes.counts.note(counter, key, ident, 0.0)

    def _require_nodes(self) -> None:
        """Raise SharedStateError if the store is down and the limit must not work without it."""
        nodes = self._nodes
        if nodes is None or self.spec.on_error != "closed" or not self.spec.nodes:
            return
        if not nodes.up:
            raise SharedStateError("the shared store is down")

    def _method_of(self, spec: LimitSpec, rate: Rate) -> Method:
        """Return the counts for a rate. Another rate has other counts, because a cell does not
        contain units.
        """
        name = f"limit:{spec.name}:{rate.amount!r}/{rate.seconds!r}/{rate.burst!r}"
        if spec.method == "window":
            return Windows(self._shared.cells(SLICES), name, rate)
        return Buckets(self._shared.cells(0), name, rate)

    def _carry(self, before: Method, method: Method, key: str, now: float) -> None:
        """Move what ``key`` had used of the burst when the rate changed."""
        rate = before.rate
        usual = max(_MOVING, 2 * rate.seconds, 2 * rate.burst * rate.each)
        if now > self._changed + (max(_CARRIED, usual) if self.late else usual):
            self._before = None
            self._set_quick()
        then, burst = self._changed, before.rate.burst
        old, ident = before.ident(key), method.ident(key)
        used = burst - before.left(old, then)
        if used > 0:
            before.forget(old)
            at = then if method.left(ident, now) == method.rate.burst else now
            method.charge(ident, used / burst * method.rate.burst, at)

    def has_queue(self, key: str) -> bool:
        """Return whether another request of ``key`` may wait."""
        return self.waiting.get(key, 0) < self.spec.action.queue

    def wait(self, key: str, more: int) -> None:
        """Count one more waiting request of ``key``, or (-1) one less."""
        count = self.waiting.get(key, 0) + more
        if count:
            self.waiting[key] = count
        else:
            self.waiting.pop(key, None)

    def note_refused(self, key: str) -> None:
        """Count a refusal by key, for people. The oldest key is dropped."""
        shown = self.key.shown(key)
        if shown not in self.refused and len(self.refused) >= _NAMED:
            del self.refused[next(iter(self.refused))]
        self.refused[shown] = self.refused.get(shown, 0) + 1


def _counter_of(spec: LimitSpec, method: Method) -> NodeCounter:
    """Return the counter that the nodes share for a limit with a rate."""
    rate = method.rate
    name = f"limit:{spec.name}:{rate.amount!r}/{rate.seconds!r}/{rate.burst!r}"
    if isinstance(method, Windows):
        return NodeCounter(name, "window", method, rate.seconds / PARTS)
    assert isinstance(method, Buckets)
    return NodeCounter(name, "bucket", method, rate.each)
