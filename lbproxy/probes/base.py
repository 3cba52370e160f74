"""CONTROL. The base class of probes, and the connection that they use.

:class:`lbproxy.checks.checker.Checker` creates one probe per backend and calls :meth:`Probe.check`
for each server on schedule. Probes dial through :class:`lbproxy.net.endpoints.Dialler` like
traffic, so they also run on in-memory networks.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.balance.server import ServerState
from lbproxy.config.model import Address
from lbproxy.errors import ProxyError
from lbproxy.health.state import Result
from lbproxy.interfaces import Env, IProbe, NoOptions
from lbproxy.net.endpoints import Dialler
from lbproxy.tls.parameters import TLSParameters

__all__ = [
    "Conversation",
    "Draining",
    "NoOptions",
    "Probe",
    "ProbeTarget",
    "Unhealthy",
    "WrongRole",
    "hidden",
    "shown",
    "unescape",
]

_LINGER = 1.0  # how long a finished check's connection may take to close by itself


@frozen(eq=False)
class ProbeTarget:
    """The server to check and how to connect to it.

    - ``address``: IP literal or Unix path.
    - ``tls``: TLS settings from the check and the server line, or None.
    - ``timeout``: seconds for the whole check.
    - ``preamble``: bytes to send first, unencrypted.
    """

    server: ServerState
    network: Dialler
    address: Address
    tls: TLSParameters | None = None
    timeout: float = 1.0
    preamble: bytes = b""


class Unhealthy(Exception):
    """The check failed. The text is the note: what was found and what was expected."""

    certain = False


class WrongRole(Unhealthy):
    """The server is healthy and reports that it has the wrong role, for example that it is not the
    primary.

    The server goes down at once, without waiting for ``fall`` failures.
    """

    certain = True


class Draining(Exception):
    """The server is healthy and wants no new work; the text is the note.

    It is drained until a check reports otherwise.
    """


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


@implementer(IProbe)
class Probe:
    """Base class of probes: implement :meth:`talk`, and configure ``check = file.py:YourClass``.

    - ``clear``: begin without TLS even if TLS is configured, for protocols that start TLS
      themselves with ``target.tls``.
    - ``secure``: the check requires TLS, so ``target.tls`` is never None.
    - ``alpn``: protocols to offer if the check uses TLS and traffic does not.
    - ``concurrent``: maximum number of concurrent checks of one backend, 0 for no limit. The
      deadline of a waiting check has not started.

    A probe that does not use exactly one connection overrides :meth:`check` instead.
    """

    name: ClassVar[str] = ""
    Options: ClassVar[type[Any]] = NoOptions
    alpn: ClassVar[tuple[str, ...]] = ()

    clear = False
    secure = False
    concurrent = 0

    def __init__(self, options: Any, env: Env) -> None:
        self.options = options
        self.env = env

    async def check(self, target: ProbeTarget) -> Result:
        """See :class:`lbproxy.interfaces.IProbe`."""
        now = target.network.wheel.now
        begun = now()
        tls = None if self.clear else target.tls
        try:
            conversation = await Conversation.open(target, tls=tls)
            clean = False
            try:
                note = await self.talk(conversation, target)
                clean = True
            except (Unhealthy, Draining):
                clean = True  # the last words may be an answer to a refusal
                raise
            finally:
                conversation.close(clean=clean)
        except Unhealthy as error:
            return Result(False, str(error), now() - begun, certain=error.certain)
        except Draining as drain:
            return Result(True, str(drain), now() - begun, drain=True)
        except ProxyError as error:
            return Result(False, str(error), now() - begun)
        return Result(True, note, now() - begun)

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """Check the server over ``conversation`` and return a note for humans ("" is allowed).

        Raises :class:`Unhealthy` if the server is not healthy, and :class:`Draining` if it is
        healthy but wants no new work.
        """
        raise NotImplementedError(f"{type(self).__name__}.talk")


def hidden() -> Any:
    """Return an Options field that ``__attrs_post_init__`` sets."""
    return field(init=False, eq=False, repr=False, metadata={"kind": "hidden"})


def shown(data: bytes, limit: int = 40) -> str:
    """Return the beginning of a server's answer, for a note."""
    if not data:
        return "nothing"
    text = repr(data[:limit])[1:]
    return text if len(data) <= limit else f"{text}..."


_ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def unescape(text: str) -> bytes:
    r"""Return ``text`` as UTF-8, with the escapes ``\r \n \t \0 \\`` and ``\xHH`` replaced.

    Raises ValueError for other escapes.
    """
    out = bytearray()
    at = 0
    while (back := text.find("\\", at)) >= 0:
        out += text[at:back].encode()
        key = text[back + 1 : back + 2]
        if key in _ESCAPES and key:
            out += _ESCAPES[key]
            at = back + 2
        elif key == "x":
            digits = text[back + 2 : back + 4]
            if not re.fullmatch("[0-9A-Fa-f]{2}", digits):
                raise ValueError(f"'\\x{digits}' is not \\x and two hex digits")
            out.append(int(digits, 16))
            at = back + 4
        else:
            raise ValueError(f"'\\{key}' is no escape; write \\r \\n \\t \\0 \\\\ or \\xHH")
    out += text[at:].encode()
    return bytes(out)
