"""DATA. A TLS handshake on the socket itself; used by :mod:`lbproxy.net.fastdial`.

:class:`Handshake` owns a socket from the moment TLS starts until it is established or has failed.

=======  ========================================  ==================  ===================
state    waits for                                 done                failed, cancelled
=======  ========================================  ==================  ===================
CLEAR    what was written before TLS is sent       TLS; FRESH if the   DECIDED
                                                   peer is a client
FRESH    the first bytes of the client             QUEUED              DECIDED
QUEUED   a place (:mod:`lbproxy.net.handshakes`)   TLS                 DECIDED
TLS      OpenSSL, which wants to read or to write  DECIDED             DECIDED
DECIDED  -                                         -                   -
=======  ========================================  ==================  ===================
"""

from __future__ import annotations

import contextlib
import socket
from enum import Enum
from typing import Any, Final

from OpenSSL import SSL
from twisted.python.failure import Failure

from lbproxy.compiled import native
from lbproxy.errors import Kind, ProxyError
from lbproxy.net.handshaking import Handshaking
from lbproxy.net.poller import OUT, RDHUP, Poller
from lbproxy.net.sslsocket import FastTLSTransport
from lbproxy.net.transport import READ_BYTES, FastTransport
from lbproxy.net.watchedsocket import READ_MASK
from lbproxy.tls.errorwords import speaks_http, tls_error_text
from lbproxy.tls.info import tls_info
from lbproxy.tls.openssl import clear_errors

__all__ = ["Handshake", "HandshakeState"]


class HandshakeState(Enum):
    """See the module."""

    CLEAR = 0
    FRESH = 1
    QUEUED = 2
    TLS = 3
    DECIDED = 4


_CLEAR: Final = HandshakeState.CLEAR  # cached, because each enum member access costs a lookup
_FRESH: Final = HandshakeState.FRESH
_QUEUED: Final = HandshakeState.QUEUED
_TLS: Final = HandshakeState.TLS
_DECIDED: Final = HandshakeState.DECIDED


@native(allow_interpreted_subclasses=True)  # otherwise the inherited __init__ runs twice
class Handshake(Handshaking):
    """A TLS handshake on the socket of a :class:`FastTransport`, which is detached from it.

    ``parameters.creator.connection_for_socket(socket)`` creates the pyOpenSSL Connection. Its app
    data is this object during the handshake, so that a context's callbacks may call
    :meth:`failVerification`.
    """

    __slots__ = (
        "_connection",
        "_fd",
        "_host",
        "_mask",
        "_peer",
        "_poller",
        "_refused",
        "_socket",
        "_unsent",
        "state",
    )

    def begin(self, transport: Any, received: bytes) -> None:
        """See :meth:`Handshaking.begin`. Nothing was received."""
        loop: Any = self._loop
        self._poller: Poller = loop
        self._connection: Any = None
        self._refused = ""
        self._take(transport)
        self.state = _CLEAR if self._unsent else self._first()
        if self._unsent or not self._parameters.server_side:
            self._poller.soon(self)

    def _take(self, transport: FastTransport) -> None:
        """Take the socket, and the data written to it before TLS, from ``transport``."""
        poller = self._poller
        self._peer = transport._peer
        self._host = transport._host
        self._unsent = b"".join(transport._pending or ())
        self._fd = transport._fd
        self._mask = READ_MASK
        watched, mask = transport.watched, transport._mask
        self._socket: Any = transport.detach()
        if watched:
            poller.replace(self._fd, self)
            if mask != READ_MASK:
                poller.modify(self._fd, READ_MASK)
        else:
            poller.register(self._fd, READ_MASK, self)

    def _first(self) -> HandshakeState:
        """Return the state in which TLS starts."""
        return _TLS if self._places is None else _FRESH

    def on_events(self, events: int) -> None:
        """Handle events of the poller."""
        state = self.state
        if state is _CLEAR:
            self._send_unsent()
        elif state is _FRESH:
            self._ask_for_place()
        elif state is _QUEUED:  # no other event is watched
            self._fail(ProxyError(Kind.CLIENT_GONE, "left while it waited for other handshakes"))
        if self._may_shake():
            self._shake()

    def _ask_for_place(self) -> None:
        """Request a place. While waiting, leave received data unread and watch only for a
        hang-up.
        """
        self.state = _QUEUED
        places = self._places
        if places is not None:
            places.take(self)
        if self.state is _QUEUED:
            self._watch(RDHUP)

    def place_free(self) -> None:
        """See :class:`PlacedHandshake`."""
        self.state = _TLS
        self._watch(READ_MASK)

    def answered(self) -> bool:
        """See :class:`PlacedHandshake`. OpenSSL chooses a cipher when it answers."""
        connection = self._connection
        return connection is not None and connection.get_cipher_name() is not None

    def _may_shake(self) -> bool:
        """Return whether to take a step now.

        The socket of a client that has to wait stays ready. It is served after established traffic.
        """
        if self.state is not _TLS:
            return False
        if self._places is None:
            return True
        self.works = not self._poller.take_handshake()
        return not self.works

    def _shake(self) -> None:
        """Run one step of the handshake."""
        if self._connection is None:
            self._connection = self._parameters.creator.connection_for_socket(self._socket)
            self._connection.set_app_data(self)
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._wait_for(READ_MASK)
        except SSL.WantWriteError:
            self._wait_for(OUT)
        except SSL.Error as error:
            clear_errors()
            creator = self._parameters.creator
            reply = getattr(creator, "plain_reply", b"")
            if reply and speaks_http(error):
                self._answer_in_the_clear(reply)
            problem = getattr(creator, "problem", None)
            why = problem(self._connection) if problem is not None else ""
            self._fail(ProxyError(self._kind, why or self._refused or tls_error_text(error)))
        else:
            self._finish()

    def _answer_in_the_clear(self, reply: bytes) -> None:
        """Send ``reply`` and a FIN without TLS. Received data is read, so that closing does not
        reset the connection.
        """
        with contextlib.suppress(OSError):
            self._socket.send(reply)
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.recv(READ_BYTES)

    def on_soon(self) -> None:
        """Run the client's first step."""
        self.on_events(OUT)

    def on_crash(self, reason: Failure) -> None:
        """Fail, because a callback of the context raised or the reactor stops."""
        self._fail(ProxyError(self._kind, reason.getErrorMessage()))

    def failVerification(self, reason: Failure) -> None:
        """Fail because the peer has the wrong identity. Callbacks of a context call this."""
        self._refused = reason.getErrorMessage() or "verification failed"

    def _decided(self) -> Any:
        self.state = _DECIDED
        return super()._decided()

    def _send_unsent(self) -> None:
        """Send the data that was written before TLS."""
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(ProxyError(self._kind, str(error)))
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._watch(OUT)
        else:
            self._watch(READ_MASK)
            self.state = self._first()

    def _wait_for(self, mask: int) -> None:
        """Wait for the peer with the events ``mask``."""
        if self._places is not None:
            self._places.stepped(self)
        self._watch(mask)

    def _watch(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            self._poller.modify(self._fd, mask)

    def _finish(self) -> None:
        if self._refused:
            self._fail(ProxyError(self._kind, self._refused))
            return
        connection = self._connection
        protocol = self._settle(tls_info(connection))
        if protocol is None:
            return
        # kept until the end: see :meth:`lbproxy.tls.clientcontext.ClientContextFactory.remember`
        connection.set_app_data(getattr(self._parameters.creator, "remember", None))
        transport = FastTLSTransport(self._poller, self._socket, connection, self._peer, self._host)
        transport.protocol = protocol
        self._poller.replace(self._fd, transport)
        transport.begin(self._mask)
        try:
            protocol.makeConnection(transport)
        except BaseException:
            self._poller.crashed(transport)

    def _drop(self) -> None:
        self._poller.release(self._fd)
        self._connection = None
        with contextlib.suppress(OSError):
            self._socket.close()
