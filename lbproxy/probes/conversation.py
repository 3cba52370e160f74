"""CONTROL. A connection to a server that a probe reads with ``await``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from lbproxy.errors import ProxyError
from lbproxy.net.endpoints import Dialler
from lbproxy.probes.target import ProbeTarget, Unhealthy, shown
from lbproxy.tls.parameters import TLSParameters

__all__ = ["Conversation"]

_LINGER = 1.0  # seconds a finished check's connection may take to close by itself


class Conversation(Protocol):
    """A connection that is read with ``await``.

    While no coroutine reads, at most ``limit`` bytes are buffered; then the transport is paused.
    """

    def __init__(self, network: Dialler, limit: int = 64 * 1024) -> None:
        self._network = network
        self._wheel = network.wheel
        self._limit = limit
        self._data = b""
        self._ended = False
        self._paused = False
        self._closed = False
        self._waiting: Deferred[Any] | None = None
        self._linger: Any = None

    @classmethod
    async def open(
        cls, target: ProbeTarget, *, tls: TLSParameters | None = None, limit: int = 64 * 1024
    ) -> Conversation:
        """Connect to the target. Raises :class:`lbproxy.errors.ProxyError`."""
        self = cls(target.network, limit)
        waiting: Deferred[None] = Deferred(lambda _: dial.cancel())
        self._waiting = waiting

        def failed(error: ProxyError) -> None:
            waiting.errback(error)

        dial = target.network.dial(
            target.address,
            self,
            failed,
            timeout=target.timeout,
            tls=tls,
            preamble=target.preamble,
        )
        await waiting
        return self

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(clean=kind is None)

    def send(self, data: bytes) -> None:
        """Write bytes. Data that the peer does not accept is buffered without limit, so send
        little.
        """
        if self.transport is not None and not self._ended:
            self.transport.write(data)

    async def receive(self) -> bytes:
        """Return the next bytes, or b"" once the peer has closed. Only one caller at a time."""
        if not self._data and not self._ended:
            self._waiting = Deferred()
            await self._waiting
        data, self._data = self._data, b""
        if self._paused:
            self._paused = False
            self._transport().resumeProducing()
        return data

    async def receive_exactly(self, count: int) -> bytes:
        """Return exactly ``count`` bytes, a number that the caller has bounded.

        Raises :class:`Unhealthy` if the peer closes before.
        """
        data = b""
        while len(data) < count:
            more = await self.receive()
            if not more:
                raise Unhealthy("closed before its answer was complete")
            data += more
        self._unread(data[count:])
        return data[:count]

    async def receive_line(self, limit: int = 1024) -> bytes:
        r"""Return the next line without its ``\n`` or ``\r\n``.

        Raises :class:`Unhealthy` if it is too long or incomplete.
        """
        data = b""
        while (end := data.find(b"\n", 0, limit + 2)) < 0:
            if len(data) > limit + 1:
                raise Unhealthy(f"sent a line of more than {limit} bytes: {shown(data)}")
            more = await self.receive()
            if not more:
                raise Unhealthy(f"closed after {shown(data)}" if data else "closed without a word")
            data += more
        self._unread(data[end + 1 :])
        return data[:end].removesuffix(b"\r")

    async def start_tls(self, tls: TLSParameters, timeout: float) -> None:
        """Continue in TLS.

        Raises :class:`lbproxy.errors.ProxyError` if the handshake fails, and :class:`Unhealthy` if
        the peer has sent more unencrypted data than expected, which could otherwise be mistaken for
        encrypted data.
        """
        if self._data:
            raise Unhealthy(f"said {shown(self._data)} before TLS began")
        waiting: Deferred[None] = Deferred(lambda _: handshake.cancel())

        def failed(error: ProxyError) -> None:
            self._ended = True
            waiting.errback(error)

        self._waiting = waiting  # fired by connectionMade
        handshake = self._network.start_tls(
            self.transport, tls, lambda info: self, failed, timeout=timeout
        )
        try:
            await waiting
        except BaseException:
            self._ended = True  # closed by the network
            raise

    def _unread(self, data: bytes) -> None:
        self._data = data + self._data

    def close(self, *, clean: bool) -> None:
        """Close the connection, or abort it if not ``clean``. Has no effect if it is closed."""
        self._closed = True
        self._data = b""
        if self.transport is None or self._ended:
            return
        if clean:
            self._linger = self._wheel.timer(self._abort)
            self._linger.set(_LINGER)
            if self._paused:
                self._transport().resumeProducing()
            self.transport.loseConnection()
        else:
            self._abort()

    def _transport(self) -> Any:
        return self.transport

    def _abort(self) -> None:
        if not self._ended:
            self._transport().abortConnection()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    # -- called by Twisted ----------------------------------------------------------------------

    def connectionMade(self) -> None:
        """See IProtocol."""
        self._wake()

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        if self._closed:
            return
        self._data += data
        if len(self._data) >= self._limit and not self._paused:
            self._paused = True
            self._transport().pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self._ended = True
        if self._linger is not None:
            self._linger.clear()
        self._wake()
