"""DATA. Accepts the connections of one listening socket in the poller, with a bound per event so
that others are served too.

This is the part of :class:`lbproxy.net.fastport.FastPort` that runs for each connection.

==========  ===================  =======================  ======
state       shortage of          ACCEPT_PAUSE_S passed    close
            descriptors, memory
==========  ===================  =======================  ======
ACCEPTING   PAUSED               -                        CLOSED
PAUSED      -                    ACCEPTING                CLOSED
CLOSED      -                    -                        CLOSED
==========  ===================  =======================  ======
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.compiled import native
from lbproxy.net.builder import ProtocolBuilder
from lbproxy.net.errorwords import error_words
from lbproxy.net.handler import Handler
from lbproxy.net.poller import IN, Poller
from lbproxy.net.stream import StreamProtocol
from lbproxy.net.timers import Timer
from lbproxy.net.transport import FastTransport
from lbproxy.net.watchedsocket import twisted_address

__all__ = ["ACCEPTS_PER_EVENT", "ACCEPT_PAUSE_S", "Acceptor", "AcceptorState"]

ACCEPTS_PER_EVENT: Final = 64
ACCEPT_PAUSE_S = 0.25
_SHORTAGE: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_UNIX: Final = int(socket.AF_UNIX)
_set_blocking: Final[Callable[[int, bool], None]] = os.set_blocking

_log = Logger(__name__)


class AcceptorState(Enum):
    """See the module."""

    ACCEPTING = 0
    PAUSED = 1
    CLOSED = 2


# cached, because each enum member access costs a lookup
_ACCEPTING: Final = AcceptorState.ACCEPTING
_PAUSED: Final = AcceptorState.PAUSED
_CLOSED: Final = AcceptorState.CLOSED


@native(allow_interpreted_subclasses=True)
class Acceptor(Handler):
    """The owner of ``sock``, a listening socket.

    ``host``: the raw local address of every accepted connection, None if it may differ between
    connections. ``name``: name of the socket in messages. ``closed`` is called once, after the
    close. Raises OSError if the poller cannot watch the socket.
    """

    __slots__ = (
        "_accept",
        "_budget",
        "_build",
        "_builder",
        "_closed",
        "_factory",
        "_family",
        "_fd",
        "_host",
        "_name",
        "_poller",
        "_timer",
        "sock",
        "state",
    )

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        factory: IProtocolFactory,
        host: Any,
        name: str,
        closed: Callable[[], None],
    ) -> None:
        self._poller = poller
        self.sock: Any = sock
        self._fd = sock.fileno()
        self._family = int(sock.family)
        # the raw call: with enums and a second object, accept() costs more than the kernel's part
        self._accept: Callable[[], Any] = sock._accept  # type: ignore[attr-defined]
        self._host = host
        self._name = name
        self._closed = closed
        # accepts per event; grows while connections are queued, to save the EAGAIN
        self._budget = 1
        self._timer: Timer = poller.wheel.timer(self._resume)
        self.state = _ACCEPTING
        self.serve(factory)
        poller.register(self._fd, IN, self)

    def serve(self, factory: IProtocolFactory) -> None:
        """Pass connections accepted from now on to ``factory``.

        Beside ``buildProtocol``, a factory may have ``build_for(ip, port)``, which saves the
        creation of Twisted's address ("" and 0 for a Unix socket). It may instead have a
        ``builder`` of the class :class:`ProtocolBuilder`. It may also have ``make_room()``, which
        is called when no descriptors are left.
        """
        self._factory: Any = factory
        build = _shortcut(factory)
        self._builder: ProtocolBuilder | None = None
        if isinstance(build, ProtocolBuilder):
            self._builder = build
        self._build: Any = build

    def close(self) -> None:
        """Stop accepting. The kernel resets queued connections. Later calls do nothing."""
        if self.state is _CLOSED:
            return
        self.state = _CLOSED
        self._timer.close()
        self._poller.unregister(self._fd)
        self.sock.close()
        closed, self._closed = self._closed, _nothing
        closed()

    # -- the poller's calls ------------------------------------------------------------------

    def on_events(self, events: int) -> None:
        """Accept at most ACCEPTS_PER_EVENT connections."""
        budget = self._budget
        for _ in range(budget):
            try:
                fd, peer = self._accept()
            except BlockingIOError:
                self._budget = max(1, budget // 2)
                return
            except OSError as error:
                if not self._failed(error):
                    return
                continue
            self._accepted(fd, peer)
            if self.state is _CLOSED:
                return
        self._budget = min(ACCEPTS_PER_EVENT, budget * 2)

    def on_crash(self, reason: Failure) -> None:
        """Close because the reactor stops."""
        self.close()

    def _failed(self, error: OSError) -> bool:
        """Return whether to continue. A connection that died in the queue is not an error."""
        if error.errno not in _SHORTAGE:
            if self._poller.may_log(f"accept {error.errno}"):
                _log.warn(
                    "accepting on {address} failed: {why}",
                    address=self._name,
                    why=error_words(error),
                )
            return True
        if self._poller.may_log("accept paused"):
            _log.error(
                "pausing accepts on {address}: {why}",
                address=self._name,
                why=error_words(error),
            )
        make_room = getattr(self._factory, "make_room", None)
        if make_room is not None:
            make_room()
        self.state = _PAUSED
        self._poller.silence(self._fd)
        self._timer.set(ACCEPT_PAUSE_S)
        return False

    def _resume(self) -> None:
        if self.state is _PAUSED:
            try:
                self._poller.register(self._fd, IN, self)
            except OSError:
                self._timer.set(ACCEPT_PAUSE_S)
            else:
                self.state = _ACCEPTING

    # -- one connection ----------------------------------------------------------------------

    def _accepted(self, fd: int, peer: Any) -> None:
        transport: FastTransport | None = None
        try:
            _set_blocking(fd, False)
            protocol = self._protocol(peer)
            if protocol is None:
                os.close(fd)
                return
            transport = FastTransport(self._poller, None, peer, self._host, fd, self._family)
            # set first, so that it is notified of the end if a later step fails
            transport.protocol = protocol
            transport.start()
            self._poller.accepted()
            if isinstance(protocol, StreamProtocol):
                protocol.makeConnection(transport)
            else:
                protocol.makeConnection(transport)
        except BaseException:
            self._poller.crashed(_Rejected(fd) if transport is None else transport)

    def _protocol(self, peer: Any) -> Any:
        """Return the factory's protocol for a client at the raw address ``peer``."""
        builder = self._builder
        if builder is not None:
            if self._family == _UNIX:
                return builder.build("", 0)
            return builder.build(peer[0], peer[1])
        build = self._build
        if build is None:
            return self._factory.buildProtocol(twisted_address(self._family, peer))
        if self._family == _UNIX:
            return build("", 0)
        return build(peer[0], peer[1])


def _shortcut(factory: IProtocolFactory) -> Any:
    """Return ``builder`` or ``build_for``, unless a subclass of its class overrides
    ``buildProtocol`` or ``build_for``.

    The class is inspected, because a proxy object around a factory may pass on attributes that it
    does not have itself.
    """
    for kind in type(factory).__mro__:
        if "builder" in vars(kind):
            builder = getattr(factory, "builder")  # noqa: B009 - as below
            # otherwise it is an attribute of the embedding program
            if isinstance(builder, ProtocolBuilder):
                return builder
        if "build_for" in vars(kind):
            return getattr(factory, "build_for")  # noqa: B009 - IProtocolFactory does not have it
        if "buildProtocol" in vars(kind):
            return None
    return None


def _nothing() -> None:
    """Do nothing. The callback of a closed acceptor, which avoids a reference cycle with the
    port.
    """


class _Rejected(Handler):
    """An accepted socket without a protocol."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def on_crash(self, reason: Failure) -> None:
        """Close it."""
        os.close(self._fd)
