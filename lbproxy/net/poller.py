"""DATA. One nested epoll for all proxied sockets, created by :class:`lbproxy.net.fast.FastNetwork`.

The Twisted reactor watches only the epoll's own descriptor, and only while a socket is registered.
When it is readable, the poller gets the ready sockets with one system call, serves them in a tight
loop and returns, so that timers and other work of the reactor run. A turn of the reactor costs as
much as several events. Under load the poller therefore polls again within the turn, for at most
:data:`BATCH` events in all and at most :data:`LOOKS_S` after the first poll. The time is bounded
because a firewall may need milliseconds for one event while timers wait.

Rules:

1. An event belongs to the object that registered the descriptor, not to the number's present owner.
   A handler registered during a batch gets no event of that batch; a removed handler gets none.
2. Level-triggered: a handler need not read to the end, because remaining data is reported again.
   One ``recv`` per event is then enough; edge-triggering needs a second one to see EAGAIN.
3. An exception in a handler ends that handler's connection, never the loop.
4. ``soon`` runs at the end of the current batch (or in the next reactor iteration outside a turn),
   ``again`` in the next turn. Both run work outside the caller's stack.
5. A closed descriptor leaves the epoll without a system call, unless it was registered when the
   process forked: a child that holds the socket open would keep it in the epoll.

The states are in :mod:`lbproxy.net.pollerstate`.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from lbproxy.net.forks import FORKS, Forks
from lbproxy.net.handler import Handler
from lbproxy.net.loop import Loop
from lbproxy.net.pipes import PipePool
from lbproxy.net.pollerstate import PollerState
from lbproxy.net.timers import TimerWheel

__all__ = ["BATCH", "ERR", "HUP", "IN", "OUT", "RDHUP", "Handler", "Poller", "failure_of"]

# the values of <sys/epoll.h> on every architecture, as numbers so that mypyc can inline them
IN: Final = 1
OUT: Final = 4
ERR: Final = 8
HUP: Final = 16
RDHUP: Final = 0x2000

BATCH = 256  # maximum number of ready sockets served per turn
BUSY: Final = 4  # this many events at once suggest that more have arrived meanwhile
LOOKS_S: Final = 0.005  # seconds after the first batch of a turn in which the poller polls again
ACCEPT_WORK: Final = 4  # an accepted connection counts as this many events
# maximum steps of clients' TLS handshakes in one turn; one costs up to a millisecond
HANDSHAKES = 4
SOON_ROUNDS: Final = 4  # maximum rounds of work that creates more work within one turn


_IDLE: Final = PollerState.IDLE  # cached, because each enum member access costs a lookup
_TURN: Final = PollerState.TURN
_CLOSED: Final = PollerState.CLOSED

_log = Logger(__name__)
_forks: Final[Forks] = FORKS
_failure: Callable[..., Failure] = Failure


def failure_of(error: BaseException | None) -> Failure:
    """Return ``error`` as a Failure of Twisted; None: the exception being handled."""
    return _failure(error)


class Poller(Loop):
    """The nested epoll.

    ``reactor``: provides IReactorFDSet and IReactorTime. ``wheel``: timer wheel for the registered
    objects. Raises OSError if no descriptor is left, AttributeError if the system has no epoll.
    """

    def __init__(self, reactor: Any, wheel: TimerWheel | None = None) -> None:
        super().__init__(reactor, wheel)
        self.pipes = PipePool(self.wheel)
        self.state = _IDLE
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._handshakes = HANDSHAKES  # events left in this turn
        self._work = 0  # events of this batch, with ACCEPT_WORK for each accepted connection
        self._fresh: set[int] = set()  # descriptors registered during this batch
        self._soon: list[Handler] = []
        self._again: list[Handler] = []
        self._wake: Any = None
        self._quiet: dict[str, float] = {}  # kind of message -> when it may be logged again
        self._fd: int = self._epoll.fileno()
        self._forks = _forks.count
        self._shared: set[int] = set()  # descriptors that a child process may have open too

    @property
    def in_turn(self) -> bool:
        """True if calls of :meth:`soon` run before the reactor continues."""
        return self.state is _TURN

    # -- registration ------------------------------------------------------------------------

    def register(self, fd: int, mask: int, handler: Handler) -> None:
        """Watch ``fd`` for ``mask``. Raises OSError (ENOSPC, ENOMEM) if the kernel refuses."""
        if self.state is _CLOSED:
            raise OSError(errno.EBADF, "the network is closed")
        if self._forks != _forks.count:
            self._note_forks()
        self._epoll.register(fd, mask)
        if not self._handlers:
            self.reactor.addReader(self)
        self._handlers[fd] = handler
        if self.state is _TURN:
            self._fresh.add(fd)

    def modify(self, fd: int, mask: int) -> None:
        """Watch a registered ``fd`` for ``mask`` from now on. Errors and hang-ups are always
        reported.
        """
        self._epoll.modify(fd, mask)

    def replace(self, fd: int, handler: Handler) -> None:
        """Pass the events of a registered ``fd`` to another object from the next batch on."""
        self._handlers[fd] = handler
        if self.state is _TURN:
            self._fresh.add(fd)

    def unregister(self, fd: int) -> None:
        """Stop watching ``fd``, which other processes may have open too. A second call does
        nothing.
        """
        if fd in self._handlers:
            self.silence(fd)
            self.forget(fd)

    def release(self, fd: int) -> None:
        """Stop watching ``fd``, which only this process has open and the caller closes next (rule
        5).
        """
        if self._forks != _forks.count:
            self._note_forks()
        if self._shared and fd in self._shared:
            self.silence(fd)
        self.forget(fd)

    def forget(self, fd: int) -> None:
        """Remove a descriptor that was silenced. A second call does nothing."""
        if self._shared:
            self._shared.discard(fd)
        if self._handlers.pop(fd, None) is not None and not self._handlers:
            self.reactor.removeReader(self)

    def silence(self, fd: int) -> None:
        """Report no event of ``fd``, not even a hang-up, until it is registered again. Its handler
        stays known.
        """
        try:
            self._epoll.unregister(fd)
        except (OSError, ValueError):  # already closed
            return

    def _note_forks(self) -> None:
        """Note a fork: children may have inherited the registered descriptors."""
        self._forks = _forks.count
        self._shared.update(self._handlers)

    def __len__(self) -> int:
        """Return the number of watched descriptors."""
        return len(self._handlers)

    # -- later -------------------------------------------------------------------------------

    def soon(self, handler: Handler) -> None:
        """Call ``handler.on_soon()`` at the end of this turn, never from within this call."""
        self._soon.append(handler)
        if self._wake is None and self.state is _IDLE:
            self._wake = self.reactor.callLater(0, self._woken)

    def again(self, handler: Handler) -> None:
        """Call ``handler.on_soon()`` in the next turn, after all other handlers."""
        self._again.append(handler)
        if self._wake is None and self.state is not _CLOSED:
            self._wake = self.reactor.callLater(0, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._soon += self._again
        self._again.clear()
        self.state = _TURN
        try:
            self._run_soon()
        finally:
            self._end_turn()

    def _run_soon(self) -> None:
        for _ in range(SOON_ROUNDS):
            batch, self._soon = self._soon, []
            for handler in batch:
                try:
                    handler.on_soon()
                except BaseException:
                    self.crashed(handler)
            if not self._soon:
                return

    def _end_turn(self) -> None:
        if self.state is _CLOSED:
            return
        self.state = _IDLE
        self._fresh.clear()
        if self._soon and self._wake is None:
            self._wake = self.reactor.callLater(0, self._woken)

    # -- the turn ----------------------------------------------------------------------------

    def doRead(self) -> None:
        """Run one turn. The reactor calls it."""
        if self.state is _CLOSED:
            return
        self.state = _TURN
        self._handshakes = HANDSHAKES
        left: int = BATCH
        until = 0.0
        try:
            while left > 0:
                self._serve(left)
                left -= self._work
                if self._work < BUSY or self._handshakes < 0 or self._fd < 0:
                    break
                now = self.wheel.now()
                if until == 0.0:
                    until = now + LOOKS_S
                elif now >= until:
                    break
                self._fresh.clear()
        finally:
            self._end_turn()

    def _serve(self, most: int) -> None:
        """Serve the sockets that are ready now, at most ``most`` of them."""
        handlers = self._handlers
        fresh = self._fresh
        ready = self._epoll.poll(0, most)
        self._work = len(ready)
        for fd, events in ready:
            handler = handlers.get(fd)
            if handler is None or (fresh and fd in fresh):
                continue
            try:
                handler.on_events(events)
            except BaseException:
                self.crashed(handler)
        if self._soon:
            self._run_soon()

    def accepted(self) -> None:
        """Count a new client connection, whose first bytes have often arrived as well."""
        self._work += ACCEPT_WORK

    def take_handshake(self) -> bool:
        """Return whether a client's TLS handshake may take a step in this turn.

        New connections wait behind established ones, regardless of their number.
        """
        self._handshakes -= 1
        return self._handshakes >= 0

    def crashed(self, handler: Handler) -> None:
        """Log the exception being handled, at most once a second per kind, and end ``handler``."""
        reason = failure_of(None)
        kind = f"{type(handler).__name__} {reason.type.__name__ if reason.type else ''}"
        if self.may_log(kind):
            _log.failure("a connection's handler failed: {kind}", failure=reason, kind=kind)
        try:
            handler.on_crash(reason)
        except BaseException:
            if self.may_log(kind + " again"):
                _log.failure("closing a failed connection failed: {kind}", kind=kind)

    def may_log(self, kind: str) -> bool:
        """Return whether a message of this kind may be logged. The limit is one per second and
        kind.
        """
        now = self.wheel.now()
        if now < self._quiet.get(kind, now):
            return False
        if len(self._quiet) > 1000:
            self._quiet.clear()
        self._quiet[kind] = now + 1.0
        return True

    # -- what the reactor needs --------------------------------------------------------------

    def fileno(self) -> int:
        """The epoll's descriptor; -1 once closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Return the prefix for the reactor's log context."""
        return "lbproxy"

    def connectionLost(self, reason: Failure) -> None:
        """Close every connection, because the reactor disconnects everything or has lost the
        epoll.
        """
        self._shut(failure_of(ConnectionLost("the reactor stopped")))

    def close(self) -> None:
        """Close every connection and leave the reactor. A second call does nothing."""
        if self.state is not _CLOSED:
            self._shut(failure_of(ConnectionLost("the network was closed")))

    def _shut(self, reason: Failure) -> None:
        if self.state is _CLOSED:
            return
        self.state = _CLOSED
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        for handler in list(self._handlers.values()):
            try:
                handler.on_crash(reason)
            except BaseException:
                _log.failure("closing a connection failed")
        if self._handlers:
            self._handlers.clear()
            self.reactor.removeReader(self)
        self._soon.clear()
        self._again.clear()
        self.pipes.close()
        self._fd = -1
        self._epoll.close()


classImplements(Poller, IReadDescriptor)
