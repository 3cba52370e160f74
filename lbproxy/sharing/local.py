"""PURE. Shared state of a single process, all in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from mmap import mmap
from secrets import token_bytes, token_hex
from typing import TYPE_CHECKING, Any, Protocol

from lbproxy.limits.cells import Cells, cell_bytes
from lbproxy.sharing.contracts import Rate, Turn
from lbproxy.sharing.store import Store

if TYPE_CHECKING:
    from lbproxy.balance.group import Claims
    from lbproxy.guard.connections import Peers

__all__ = ["Backing", "LocalReplicated", "LocalShared", "RemoteTopics", "Topics"]

_NOTED = 100_000


class LocalShared:
    """Shared state of a single process; see :class:`~lbproxy.sharing.contracts.Shared`.

    The master of workers has one with their ``processes`` and their ``folder``.
    """

    def __init__(self, processes: int = 1, folder: str = "") -> None:
        self.processes = processes
        self.folder = folder
        self.machine = token_hex(8)
        self._cells: dict[int, Cells] = {}

    def cells(self, extra: int) -> Cells:
        """See Shared."""
        found = self._cells.get(extra)
        if found is None:
            memory = memoryview(mmap(-1, cell_bytes(extra)))
            found = self._cells[extra] = Cells(memory, extra, token_bytes(32))
        return found

    def use(self, cells: Mapping[int, Cells]) -> None:
        """Use these tables, which the workers share, from now on."""
        self._cells = dict(cells)

    def add(self, key: str, count: int) -> None:
        """See Shared. No effect, because no other process reads it."""

    def others(self, key: str) -> int:
        """See Shared."""
        return 0

    def claim(self, key: str, room: int) -> bool:
        """See Shared."""
        return room > 0

    def release(self, key: str) -> None:
        """See Shared."""

    def claims(self) -> Claims | None:
        """See Shared."""
        return None

    def peers(self, frontend: str) -> Peers | None:
        """See Shared."""
        return None

    def turn(self, backend: str) -> Turn | None:
        """See Shared."""
        return None


class Topics:
    """The subscribers in this process by topic."""

    def __init__(self) -> None:
        self._receivers: dict[str, list[Callable[[Any], None]]] = {}
        self._wholes: dict[str, list[Callable[[], Iterator[Any]]]] = {}
        self.kept: set[str] = set()

    def subscribe(
        self,
        topic: str,
        receive: Callable[[Any], None],
        whole: Callable[[], Iterator[Any]] | None,
        kept: bool = False,
    ) -> Callable[[], None]:
        """See Replicated."""
        if kept:
            self.kept.add(topic)
        self._receivers.setdefault(topic, []).append(receive)
        if whole is not None:
            self._wholes.setdefault(topic, []).append(whole)

        def end() -> None:
            self._receivers[topic].remove(receive)
            if whole is not None:
                self._wholes[topic].remove(whole)

        return end

    def has(self, topic: str) -> bool:
        """Return whether there is a subscriber of ``topic``."""
        return bool(self._receivers.get(topic))

    def deliver(self, topic: str, message: Any) -> None:
        """Call the receivers of ``topic``. An exception ends the delivery."""
        for receive in list(self._receivers.get(topic, ())):
            receive(message)

    def whole(self, topic: str = "") -> Iterator[tuple[str, Any]]:
        """Yield topic and message of the complete state of ``topic``, or of every topic."""
        for name in [topic] if topic else list(self._wholes):
            for one in list(self._wholes.get(name, ())):
                for message in one():
                    yield name, message


class Backing(Protocol):
    """Limits, leases and values that nodes share; see :class:`Replicated`.

    ``holder``: the process of this node that holds a lease.
    """

    async def take(self, key: str, cost: float, rate: Rate) -> float:
        """See Replicated."""

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """See Replicated."""

    async def release(self, name: str, holder: str) -> None:
        """See Replicated."""

    async def get(self, key: str) -> Any:
        """See Replicated."""

    async def put(self, key: str, value: Any, seconds: float = 0.0) -> None:
        """See Replicated."""


class RemoteTopics(Protocol):
    """Sends the messages of kept topics to other nodes, and receives theirs."""

    def publish(self, topic: str, message: Any) -> None:
        """Send a message."""

    def subscribed(self, topic: str) -> None:
        """Deliver the earlier messages of a topic."""


class LocalReplicated:
    """Replicated state of one node; see :class:`~lbproxy.sharing.contracts.Replicated`. ``now``:
    monotonic time in seconds.

    ``keep(topic, message)`` is called for messages of kept topics. ``noted`` collects them while it
    is a list. ``remote`` sends these messages to other nodes. ``backing``: a store of limits,
    leases and values that nodes share, used instead of ``store``.
    """

    ready = True

    def __init__(self, now: Callable[[], float]) -> None:
        self.store = Store(now)
        self.backing: Backing | None = None
        self.remote: RemoteTopics | None = None
        self.keep: Callable[[str, Any], None] | None = None
        self.noted: list[tuple[str, Any]] | None = None
        self._topics = Topics()

    @property
    def alone(self) -> bool:
        """See Replicated."""
        return self.remote is None

    async def take(self, key: str, cost: float, rate: Rate) -> float:
        """See Replicated."""
        if self.backing is not None:
            return await self.backing.take(key, cost, rate)
        return self.store.take(key, cost, rate)

    async def lease(self, name: str, seconds: float) -> bool:
        """See Replicated."""
        return await self.lease_for("", name, seconds)

    async def lease_for(self, holder: str, name: str, seconds: float) -> bool:
        """Lease ``name`` for a process of this node; see Replicated."""
        if self.backing is not None:
            return await self.backing.lease(name, holder, seconds)
        return self.store.lease(name, holder, seconds)

    async def release(self, name: str) -> None:
        """See Replicated."""
        await self.release_for("", name)

    async def release_for(self, holder: str, name: str) -> None:
        """End the lease of a process of this node."""
        if self.backing is not None:
            await self.backing.release(name, holder)
        else:
            self.store.release(name, holder)

    async def get(self, key: str) -> Any:
        """See Replicated."""
        return self.store.get(key) if self.backing is None else await self.backing.get(key)

    async def put(self, key: str, value: Any, seconds: float = 0.0) -> None:
        """See Replicated."""
        if self.backing is not None:
            await self.backing.put(key, value, seconds)
        else:
            self.store.put(key, value, seconds)

    def publish(self, topic: str, message: Any) -> None:
        """See Replicated."""
        self.spread(topic, message)
        if self.remote is not None and topic in self._topics.kept:
            self.remote.publish(topic, message)

    def spread(self, topic: str, message: Any) -> None:
        """Deliver a message to the subscribers of this node, and not to other nodes."""
        self._topics.deliver(topic, message)
        if topic not in self._topics.kept:
            return
        if self.keep is not None:
            self.keep(topic, message)
        if self.noted is not None and len(self.noted) < _NOTED:
            self.noted.append((topic, message))

    def subscribe(
        self,
        topic: str,
        receive: Callable[[Any], None],
        whole: Callable[[], Iterator[Any]] | None = None,
        *,
        kept: bool = False,
    ) -> Callable[[], None]:
        """See Replicated."""
        new = kept and not self._topics.has(topic)
        end = self._topics.subscribe(topic, receive, whole, kept)
        if new and self.remote is not None:
            self.remote.subscribed(topic)
        return end

    def spread_kept(self, topic: str, message: Any) -> None:
        """Call :meth:`spread` for a kept topic. Other nodes cannot change other topics."""
        if topic in self._topics.kept:
            self.spread(topic, message)

    def everything(self) -> Iterator[tuple[str, Any]]:
        """Yield topics and messages with the complete state of the kept topics."""
        for topic in sorted(self._topics.kept):
            yield from self._topics.whole(topic)
