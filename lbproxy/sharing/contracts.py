"""PURE. The contracts of shared state; see the package.

Keys and topics are text.  Each user begins its own with a word and a colon (``sticky:``,
``limit:logins:``), so that two features never share one by accident.  Messages and values consist
of JSON types.
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
    """The other processes cannot be asked, or did not answer in time."""


class Turn(Protocol):
    """The order in which the waiters of one backend are served, those of all processes of this
    machine together.

    Synchronous and O(processes). A ticket is a whole number above 0; the waiter with the lowest one
    is the first.
    """

    def ticket(self, priority: int) -> int:
        """Return the ticket of a waiter that begins to wait now.

        Lower priorities come first.  Within a priority, tickets grow with time, across processes.
        """

    def publish(self, ticket: int) -> None:
        """Publish the ticket of this process's first waiter; 0 if it has none."""

    def is_first(self, ticket: int) -> bool:
        """Return whether no other process has a waiter that comes before ``ticket``.

        A waiter that has been first in its process for long while servers had room is passed over:
        its process may hang, or may see fewer servers than this one.
        """

    def others_wait(self) -> bool:
        """Return whether another process has a waiter, so that new traffic must queue behind it."""

    def wake_first(self) -> None:
        """Wake the process of the first waiter if that is another one, because a server
        has room.
        """


class Shared(Protocol):
    """State that the processes of one machine share, for the data path.

    It is synchronous, and costs only memory accesses. The counts of a process end with it. Keys
    share places, so a count of *other* processes can be too high, never too low
    (:mod:`lbproxy.workers.shared` has the figures). Each process counts what it holds itself.

    ``processes``: their number. ``folder``: path of a folder in memory that they share, which may
    not exist yet; "" for a single process.  ``machine``: a random name, the same in all of them.
    """

    processes: int
    folder: str
    machine: str

    def add(self, key: str, count: int) -> None:
        """Add ``count``, which may be negative, to what this process holds of ``key``."""

    def others(self, key: str) -> int:
        """Return how much the other processes hold of ``key``."""

    def claim(self, key: str, room: int) -> bool:
        """Add 1 to what this process holds of ``key`` if the others hold less than ``room``, and
        return whether.

        Two processes that claim the last place at once may both be refused; the limit is never
        exceeded.
        """

    def release(self, key: str) -> None:
        """Give back one :meth:`claim`."""

    def cells(self, extra: int) -> Cells:
        """Return the table of numbers by key that all limits share: with ``extra`` numbers a key, 0
        or :data:`lbproxy.limits.window.SLICES`.
        """

    def claims(self) -> Claims | None:
        """Return what holds ``maxconn`` of servers for all processes; None for a single process."""

    def peers(self, frontend: str) -> Peers | None:
        """Return what holds ``maxconn_per_ip`` of a frontend for all processes; None for a single
        process.
        """

    def turn(self, backend: str) -> Turn | None:
        """Return the order of the queue of ``backend``; None for a single process, whose queue has
        its own.
        """


class Replicated(Protocol):
    """State that processes share eventually, on any machine: asynchronous, and no request waits for
    it.

    The awaitables fail with :class:`SharedStateError` if the others cannot be reached within a few
    seconds.
    """

    @property
    def alone(self) -> bool:
        """True if there is nobody to share with, so that :meth:`publish` has no use."""

    @property
    def ready(self) -> bool:
        """True if :meth:`publish` can be called now; while false, messages would pile up."""

    def take(self, key: str, cost: float, rate: Rate) -> Awaitable[float]:
        """Take ``cost`` from the limit ``rate`` of ``key``.

        Gives 0.0 when it was taken; otherwise nothing was, and the seconds after which it can be.
        """

    def lease(self, name: str, seconds: float) -> Awaitable[bool]:
        """Hold ``name`` for ``seconds``, or longer when it is this process's already; False if
        another holds it.
        """

    def release(self, name: str) -> Awaitable[None]:
        """End this process's lease of ``name``, if it has one."""

    def get(self, key: str) -> Awaitable[Any]:
        """The value of ``key``; None when there is none."""

    def put(self, key: str, value: Any, seconds: float = 0.0) -> Awaitable[None]:
        """Set the value of ``key``, for ``seconds`` or (0) for good; None removes it."""

    def publish(self, topic: str, message: Any) -> None:
        """Send ``message`` to the subscribers of ``topic`` in all processes, this one included.

        All receive the messages of a topic in one order.  A process that cannot keep up misses
        messages; a topic with ``whole`` is then sent again.
        """

    def subscribe(
        self,
        topic: str,
        receive: Callable[[Any], None],
        whole: Callable[[], Iterator[Any]] | None = None,
        *,
        kept: bool = False,
    ) -> Callable[[], None]:
        """Call ``receive(message)`` for each message of ``topic``; returns what ends the
        subscription.

        ``whole()`` gives messages that together say all that is known, for a process that begins or
        has missed some. They are taken one by one, as that process reads them.  ``kept``: the topic
        survives a restart, in the file beside ``[lbproxy] state``.
        """


class StoreClient(Protocol):
    """The connection of this process to the shared store (:class:`lbproxy.net.redis.RedisClient`).

    ``up``: whether there is one; ``error``: why there is none.
    """

    up: bool
    error: str

    def call(self, *words: str | bytes | int) -> Any:
        """Send a command; a Deferred fires with the reply, or fails before the deadline."""


class Nodes(Protocol):
    """The other nodes, which a ``[shared]`` store joins.

    ``counts``: the use of keys that the others are to know.  ``places``: what keys have at once.
    ``client``: for features that keep
    something of their own in the store, under keys that begin with ``spec.prefix``.
    """

    counts: NodeCounts
    places: NodePlaces

    @property
    def up(self) -> bool:
        """True if the store answers."""

    @property
    def client(self) -> StoreClient:
        """The connection of this process."""

    def connect(self) -> Any:
        """A further connection of this process, not started yet, for many or large values: a
        :class:`lbproxy.net.redis.RedisClient`.
        """
