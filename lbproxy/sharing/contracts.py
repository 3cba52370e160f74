"""PURE. The contracts of shared state; see the package.

Keys and topics are text. Each user begins its own with a word and a colon (``sticky:``,
``limit:logins:``), so that two features never use the same one by accident. Messages and values
consist of JSON types.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from lbproxy.limits.rate import Rate

if TYPE_CHECKING:
    from lbproxy.balance.group import Claims
    from lbproxy.guard.connections import Peers
    from lbproxy.limits.cells import Cells
    from lbproxy.limits.nodes import NodeCounts
    from lbproxy.limits.places import NodePlaces

__all__ = ["Nodes", "Rate", "Replicated", "Shared", "SharedStateError", "StoreClient", "Turn"]


class SharedStateError(Exception):
    """The other processes cannot be reached, or did not answer in time."""


class Turn(Protocol):
    """The order of the waiting requests of one backend, across all processes of this machine.

    Synchronous and O(processes). A ticket is a whole number above 0; the waiter with the lowest one
    is the first.
    """

    def ticket(self, priority: int) -> int:
        """Return the ticket of a request that starts to wait now.

        Lower priorities come first. Within a priority, tickets grow with time, across processes.
        """

    def publish(self, ticket: int) -> None:
        """Publish the ticket of this process's first waiter; 0 if it has none."""

    def is_first(self, ticket: int) -> bool:
        """Return whether no other process has a waiter that precedes ``ticket``.

        A waiter that has been first in its process for long while servers had room is skipped,
        because its process may hang, or may see fewer servers than this one.
        """

    def others_wait(self) -> bool:
        """Return whether another process has a waiter, so that new traffic must queue behind it."""

    def wake_first(self) -> None:
        """Wake the process of the first waiter if it is another one, because a server has room."""


class Shared(Protocol):
    """State that the processes of one machine share, for the data path.

    It is synchronous, and costs only memory accesses. The counts of a process end with it. Keys
    share places, so that a count of *other* processes can be too high, but never too low
    (:mod:`lbproxy.workers.shared` has the figures). Each process counts its own use itself.

    ``processes``: their number. ``folder``: path of a folder in memory that they share, which may
    not exist yet; "" for a single process. ``machine``: a random name, the same in all of them.
    """

    processes: int
    folder: str
    machine: str

    def add(self, key: str, count: int) -> None:
        """Add ``count``, which may be negative, to this process's count of ``key``."""

    def others(self, key: str) -> int:
        """Return the count of ``key`` in the other processes."""

    def claim(self, key: str, room: int) -> bool:
        """Add 1 to this process's count of ``key`` if the count of the others is below ``room``.
        Return whether it was added.

        Two processes that claim the last place at the same time may both be refused. The limit is
        never exceeded.
        """

    def release(self, key: str) -> None:
        """Undo one :meth:`claim`."""

    def cells(self, extra: int) -> Cells:
        """Return the table of numbers by key that all limits share. ``extra``: additional numbers
        per key, 0 or :data:`lbproxy.limits.window.SLICES`.
        """

    def claims(self) -> Claims | None:
        """Return the object that enforces ``maxconn`` of servers across processes; None for a
        single process.
        """

    def peers(self, frontend: str) -> Peers | None:
        """Return the object that enforces ``maxconn_per_ip`` of a frontend across processes; None
        for a single process.
        """

    def turn(self, backend: str) -> Turn | None:
        """Return the order of the queue of ``backend``; None for a single process, whose queue
        orders itself.
        """


class Replicated(Protocol):
    """Eventually consistent state of processes on any machine. It is asynchronous, and no request
    waits for it.

    The awaitables fail with :class:`SharedStateError` if the others cannot be reached within a few
    seconds.
    """

    @property
    def alone(self) -> bool:
        """True if no other process shares state, so that :meth:`publish` has no effect."""

    @property
    def ready(self) -> bool:
        """True if :meth:`publish` can be called now. While False, messages would accumulate."""

    def take(self, key: str, cost: float, rate: Rate) -> Awaitable[float]:
        """Take ``cost`` from the limit ``rate`` of ``key``.

        The result is 0.0 if it was taken. Otherwise nothing was taken, and the result is the number
        of seconds to wait.
        """

    def lease(self, name: str, seconds: float) -> Awaitable[bool]:
        """Hold ``name`` for ``seconds``, or extend this process's lease. False if another process
        holds it.
        """

    def release(self, name: str) -> Awaitable[None]:
        """End this process's lease of ``name``, if it has one."""

    def get(self, key: str) -> Awaitable[Any]:
        """Return the value of ``key``, or None."""

    def put(self, key: str, value: Any, seconds: float = 0.0) -> Awaitable[None]:
        """Set the value of ``key`` for ``seconds``, 0 for no expiry. None removes it."""

    def publish(self, topic: str, message: Any) -> None:
        """Send ``message`` to the subscribers of ``topic`` in all processes, including this one.

        All processes receive the messages of a topic in one order. A process that cannot keep up
        misses messages; a topic with ``whole`` is then sent again.
        """

    def subscribe(
        self,
        topic: str,
        receive: Callable[[Any], None],
        whole: Callable[[], Iterator[Any]] | None = None,
        *,
        kept: bool = False,
    ) -> Callable[[], None]:
        """Call ``receive(message)`` for each message of ``topic``. Return a function that ends the
        subscription.

        ``whole()`` returns messages that together contain the complete state, for a process that
        starts or has missed messages. They are taken one by one, as that process reads them.
        ``kept``: the topic survives a restart, in the file beside ``[lbproxy] state``.
        """


class StoreClient(Protocol):
    """The connection of this process to the shared store (:class:`lbproxy.net.redis.RedisClient`).

    ``up``: whether it is connected. ``error``: why it is not.
    """

    up: bool
    error: str

    def call(self, *words: str | bytes | int) -> Any:
        """Send a command. The Deferred fires with the reply, or fails before the deadline."""


class Nodes(Protocol):
    """The other nodes, which share state through the ``[shared]`` store.

    ``counts``: use of keys that the other nodes must know. ``places``: concurrent use of keys.
    ``client``: for features that store their own data, under keys that begin with ``spec.prefix``.
    """

    counts: NodeCounts
    places: NodePlaces

    @property
    def up(self) -> bool:
        """True if the store responds."""

    @property
    def client(self) -> StoreClient:
        """The connection of this process."""

    def connect(self) -> Any:
        """Return a further connection of this process, not started yet, for many or large values: a
        :class:`lbproxy.net.redis.RedisClient`.
        """
