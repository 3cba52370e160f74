"""DATA. The network on the reactor's own transports: runs on every reactor, in-memory ones included.

Used where :class:`lbproxy.net.fast.FastNetwork` cannot be (no epoll, tests).  Needs of the reactor only
IReactorTCP, IReactorUNIX and IReactorTime; IReactorSocket where ``reuse_port`` is asked for.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet import error, tcp, unix
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorSocket,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from lbproxy.errors import Kind, ListenError, ProxyError
from lbproxy.model import Address
from lbproxy.net.endpoints import Bound, Dial, Handshaking, Network
from lbproxy.net.handover import hand_over
from lbproxy.net.stocktls import StockHandshake
from lbproxy.net.timers import TimerWheel
from lbproxy.tls.parameters import TLSInfo, TLSParameters

__all__ = ["StockNetwork", "error_words", "listen_endpoint", "refusal", "remove_stale_socket"]

_EPHEMERAL = 1024  # where kernels may take outgoing ports from, at the lowest

MAX_UNIX_PATH = 107  # sizeof sun_path, less the NUL


class StockNetwork(Network):
    """Listens and dials with ``reactor.listenTCP`` and its siblings.

    ``wheel``: shared with whoever else has deadlines on this reactor; its own if None.
    """

    def __init__(self, reactor: Any, wheel: TimerWheel | None = None) -> None:
        self.reactor = reactor
        self.wheel = TimerWheel(reactor) if wheel is None else wheel

    def listen(
        self,
        address: Address,
        factory: IProtocolFactory,
        *,
        backlog: int = 1024,
        mode: int = 0o660,
        reuse_port: bool = False,
    ) -> Bound:
        """See :meth:`lbproxy.net.endpoints.Network.listen`."""
        given = self.inherited.take(address) if self.inherited is not None else None
        if given is not None:
            return self._take_over(given[0], address, factory, backlog, mode)
        try:
            if address.kind == "unix":
                remove_stale_socket(address.path)
                port = self.reactor.listenUNIX(address.path, factory, backlog=backlog, mode=mode)
                return StockBound(port, address)
            own = reuse_port or address.host == "::"
            if own and IReactorSocket.providedBy(self.reactor):
                port = self._adopt(address, factory, backlog, reuse_port)
            elif reuse_port:
                raise ListenError(f"cannot listen on {address}: this reactor cannot share ports")
            else:
                port = self.reactor.listenTCP(
                    address.port, factory, backlog=backlog, interface=address.host
                )
        except error.CannotListenError as problem:
            raise refusal(address, problem.socketError) from problem
        except (OSError, OverflowError) as problem:  # overflow: a port above 65535
            raise refusal(address, problem) from problem
        _set_options(port)
        return StockBound(port, Address("tcp", address.host, port.getHost().port))

    def _take_over(
        self,
        sock: socket.socket,
        address: Address,
        factory: IProtocolFactory,
        backlog: int,
        mode: int,
    ) -> Bound:
        """Listen on a socket that another process still has."""
        sock.setblocking(False)
        port: Any
        with sock:  # the port makes a descriptor of its own
            try:
                # as adoptStreamPort does, but that sets backlog and mode to Twisted's
                if address.kind == "unix":
                    port = unix.Port._fromListeningDescriptor(self.reactor, sock.fileno(), factory)
                    port.mode = mode
                else:
                    port = tcp.Port._fromListeningDescriptor(
                        self.reactor, sock.fileno(), sock.family, factory
                    )
                    address = Address("tcp", address.host, sock.getsockname()[1])
                port.backlog = backlog
                port.startListening()
            except (OSError, error.CannotListenError) as problem:
                raise refusal(address, problem) from problem
        bound = StockBound(port, address)
        bound.own(False)
        return bound

    def adopt(self, sock: socket.socket, address: Address, factory: IProtocolFactory) -> Bound:
        """See :meth:`lbproxy.net.endpoints.Network.adopt`."""
        sock.setblocking(False)
        port: Any
        with sock:  # the reactor makes a descriptor of its own
            try:
                if address.kind == "unix":
                    # as adoptStreamPort does, but that lets everybody in
                    port = unix.Port._fromListeningDescriptor(self.reactor, sock.fileno(), factory)
                    port.mode = _mode(address.path)
                    port.startListening()
                else:
                    port = self.reactor.adoptStreamPort(sock.fileno(), sock.family, factory)
            except (OSError, error.CannotListenError) as problem:
                raise refusal(address, problem) from problem
        bound = StockBound(port, address)
        bound.own(False)  # others accept from it too
        return bound

    def dial(
        self,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        tls: TLSParameters | None = None,
        preamble: bytes = b"",
    ) -> Dial:
        """See :meth:`lbproxy.net.endpoints.Network.dial`."""
        return StockDial(self, address, protocol, failed, timeout, tls, preamble)

    def start_tls(
        self,
        transport: Any,
        parameters: TLSParameters,
        protocol: Callable[[TLSInfo], IProtocol],
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        received: bytes = b"",
    ) -> Handshaking:
        """See :meth:`lbproxy.net.endpoints.Network.start_tls`.

        ``protocol`` may raise a :class:`ProxyError` to refuse: the connection is aborted and ``failed``
        gets it."""
        return self.handshake(
            transport, parameters, protocol, failed, timeout=timeout, received=received
        )

    def handshake(
        self,
        transport: Any,
        parameters: TLSParameters,
        protocol: Callable[[TLSInfo], IProtocol],
        failed: Callable[[ProxyError], None],
        *,
        timeout: float,
        received: bytes = b"",
        late: ProxyError | None = None,
    ) -> StockHandshake:
        """:meth:`start_tls` that can be cancelled; ``late``: the error at the deadline."""
        handshake = StockHandshake(
            self.wheel, parameters, protocol, failed, timeout=timeout, late=late
        )
        handshake.begin(self.reactor, transport, received)
        return handshake

    def _adopt(
        self, address: Address, factory: IProtocolFactory, backlog: int, reuse_port: bool
    ) -> IListeningPort:
        """Listen on a socket made here: listenTCP has no words for dual stack and shared ports."""
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                only = int(address.host != "::")
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            sock.bind((address.host, address.port))
            sock.listen(backlog)
            port: IListeningPort = self.reactor.adoptStreamPort(sock.fileno(), family, factory)
            return port


class StockBound(Bound):
    """A listening port of the reactor.  ``switch``: stands in it for a factory that may be inside others."""

    def __init__(
        self, port: IListeningPort, address: Address, switch: _Switch | None = None
    ) -> None:
        self._port = port
        self._address = address
        self._switch = switch

    @property
    def address(self) -> Address:
        """See :class:`Bound`."""
        return self._address

    def serve(
        self, factory: IProtocolFactory, *, backlog: int = 0, mode: int | None = None
    ) -> None:
        """See :meth:`lbproxy.net.endpoints.Bound.serve`."""
        factory.doStart()
        switch, port = self._switch, self._port
        if switch is not None:
            switch.inner.doStop()
            switch.inner = factory
        else:
            old, port.factory = port.factory, factory  # type: ignore[attr-defined]
            old.doStop()
        sock = getattr(port, "socket", None)
        if backlog and sock is not None:
            sock.listen(backlog)
        if mode is not None and self._address.kind == "unix" and sock is not None:
            Path(self._address.path).chmod(mode)

    def sockets(self) -> list[int]:
        """See :meth:`lbproxy.net.endpoints.Bound.sockets`."""
        sock = getattr(self._port, "socket", None)
        return [] if sock is None else [sock.fileno()]

    def own(self, owner: bool) -> None:
        """See :meth:`lbproxy.net.endpoints.Bound.own`."""
        port: Any = self._port
        if not isinstance(port, tcp.Port):
            return
        vars(port).pop("connectionLost", None)
        if not owner:
            # as an adopted TCP port is closed: neither is the file removed nor the socket shut down
            port._shouldShutdown = False
            port.connectionLost = partial(tcp.Port.connectionLost, port)  # type: ignore[method-assign]

    def close(self) -> Any:
        """See :class:`Bound`; a second call does nothing."""
        port, self._port = self._port, None  # type: ignore[assignment]
        if port is None:
            return None
        closing = port.stopListening()
        sock = getattr(port, "socket", None)
        if sock is not None and self._address.kind == "tcp":
            sock.close()  # Twisted does so in its next turn; who listens there next may be here before that
        return closing


class _Switch(Factory):
    """Passes everything to another factory; endpoints may wrap it in factories of their own (TLS)."""

    noisy = False

    def __init__(self, inner: IProtocolFactory) -> None:
        self.inner = inner

    def doStart(self) -> None:
        """See IProtocolFactory."""
        self.inner.doStart()

    def doStop(self) -> None:
        """See IProtocolFactory."""
        self.inner.doStop()

    def buildProtocol(self, addr: Any) -> Any:
        """See IProtocolFactory."""
        return self.inner.buildProtocol(addr)


def listen_endpoint(reactor: Any, endpoint: str, factory: IProtocolFactory) -> Deferred[Bound]:
    """Listen on any Twisted endpoint string (``systemd:domain=INET:index=0``, a plugin's ...).

    Fires with a :class:`Bound`, or fails with :class:`ListenError`."""
    switch = _Switch(factory)

    def bound(port: IListeningPort) -> Bound:
        _set_options(port)
        return StockBound(port, _address_of(port.getHost()), switch)

    def refused(failure: Failure) -> Bound:
        value = failure.value
        reason = getattr(value, "socketError", None) or value
        raise ListenError(f"cannot listen on {endpoint}: {error_words(reason)}") from value

    try:
        parsed: Any = serverFromString(reactor, endpoint)
        listening: Deferred[Any] = parsed.listen(switch)
    except Exception as problem:  # a word it does not know, a plugin that fails
        listening = fail(problem)
    return listening.addCallbacks(bound, refused)


# -- dialling --------------------------------------------------------------------------------


@implementer(IProtocolFactory)
class StockDial(Dial):
    """One connection being made; the reactor's connector talks to it as to its client factory."""

    noisy = False

    def __init__(
        self,
        network: StockNetwork,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[ProxyError], None],
        timeout: float,
        tls: TLSParameters | None,
        preamble: bytes,
    ) -> None:
        self._network = network
        self._address = address
        self._protocol = protocol
        self._failed: Callable[[ProxyError], None] | None = failed
        self._tls = tls
        self._preamble = preamble
        self._timeout = timeout
        self._deadline = network.wheel.now() + timeout
        self._timer = network.wheel.timer(self._too_late)
        self._timer.set(timeout)
        self._connector: Any = None
        self._handshake: StockHandshake | None = None
        reactor = network.reactor
        no_timeout: Any = None  # ours covers everything
        try:
            if address.kind == "unix":
                if len(os.fsencode(address.path)) > MAX_UNIX_PATH:  # the reactor trips over it
                    raise OSError(errno.ENAMETOOLONG, "path too long")
                self._connector = reactor.connectUNIX(address.path, self, timeout=no_timeout)
            else:
                self._connector = reactor.connectTCP(
                    address.host, address.port, self, timeout=no_timeout
                )
        except Exception as problem:  # a port out of range, a path too long: whatever it finds
            reactor.callLater(0, self._fail, self._error(Kind.CONNECT_FAILED, error_words(problem)))

    def cancel(self) -> None:
        """See :meth:`lbproxy.net.endpoints.Dial.cancel`."""
        if self._failed is not None:
            self._decided()
            self._drop()

    # -- what the connector calls

    def doStart(self) -> None:
        """See IProtocolFactory."""

    def doStop(self) -> None:
        """See IProtocolFactory."""

    def startedConnecting(self, connector: Any) -> None:
        """See ClientFactory."""

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:
        """See ClientFactory; None drops a connection that nobody wants any longer."""
        return None if self._failed is None else _Connected(self)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """See ClientFactory."""
        slow = isinstance(reason.value, error.TimeoutError | error.TCPTimedOutError)
        kind = Kind.CONNECT_TIMEOUT if slow else Kind.CONNECT_FAILED
        self._fail(self._error(kind, error_words(reason.value)))

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """See ClientFactory; the protocol knows."""

    def connected(self, transport: Any) -> None:
        """The socket is connected: preamble, TLS, hand-over."""
        if self._failed is None:
            transport.abortConnection()
            return
        if self._address.kind == "tcp":
            if self._address.port >= _EPHEMERAL and transport.getHost() == transport.getPeer():
                # TCP lets a port nobody listens on connect to itself
                transport.abortConnection()
                refused = self._error(Kind.CONNECT_FAILED, os.strerror(errno.ECONNREFUSED))
                self._network.reactor.callLater(0, self._fail, refused)
                return
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        if self._preamble:
            transport.write(self._preamble)
        if self._tls is None:
            self._decided()
            hand_over(transport, self._protocol)
            return
        self._timer.clear()
        self._handshake = self._network.handshake(
            transport,
            self._tls,
            self._secured,
            self._insecure,
            timeout=max(0.0, self._deadline - self._network.wheel.now()),
            late=ProxyError(Kind.CONNECT_TIMEOUT, f"no TLS within {self._timeout:g} s"),
        )

    # -- the outcome

    def _secured(self, info: TLSInfo) -> IProtocol:
        self._decided()
        return self._protocol

    def _insecure(self, problem: ProxyError) -> None:
        self._fail(self._error(problem.kind, problem.detail))

    def _too_late(self) -> None:
        self._fail(self._error(Kind.CONNECT_TIMEOUT, f"no connection within {self._timeout:g} s"))

    def _error(self, kind: Kind, words: str) -> ProxyError:
        return ProxyError(kind, f"{self._address}: {words}")

    def _fail(self, problem: ProxyError) -> None:
        failed = self._failed
        if failed is not None:
            self._decided()
            self._drop()
            failed(problem)

    def _decided(self) -> None:
        self._failed = None
        self._timer.close()

    def _drop(self) -> None:
        """End whatever there is of it: a handshake, a connection, or an attempt."""
        if self._handshake is not None:
            self._handshake.cancel()
        elif self._connector is not None and self._connector.state == "connecting":
            self._connector.stopConnecting()


class _Connected(Protocol):
    """The first moment of a dialled connection."""

    def __init__(self, dial: StockDial) -> None:
        self._dial = dial

    def connectionMade(self) -> None:
        self._dial.connected(self.transport)


# -- listening -------------------------------------------------------------------------------


def remove_stale_socket(path: str) -> None:
    """Delete a Unix socket file that a dead process left; one that is in use, or another kind of
    file, is an OSError (EADDRINUSE)."""
    if path.startswith(("\0", "@")):
        return
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return  # nothing there; or bind will say what is wrong
    if is_socket:
        # A datagram socket cannot connect to a stream listener: a live one says EPROTOTYPE and does
        # not get a connection that it would have to count; one nobody has open, ECONNREFUSED.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                Path(path).unlink()
                return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _set_options(port: Any) -> None:
    """No delay and keep-alive for every accepted connection: they inherit the listening socket's."""
    sock = getattr(port, "socket", None)
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _mode(path: str) -> int:
    """Who may connect to a Unix socket, as its file says now."""
    try:
        return stat.S_IMODE(Path(path).stat().st_mode)
    except (OSError, ValueError):  # it has no file
        return 0


def _address_of(host: Any) -> Address:
    """Ours for Twisted's."""
    if hasattr(host, "port"):
        return Address("tcp", host.host, host.port)
    name = getattr(host, "name", None) or b""
    return Address("unix", path=os.fsdecode(name))


def refusal(address: Address, problem: Any) -> ListenError:
    """Why ``address`` cannot be listened on, with a hint where there is one."""
    code = getattr(problem, "errno", None)
    hint = ""
    if code == errno.EADDRINUSE:
        hint = " (another program listens there)"
    elif code in (errno.EACCES, errno.EPERM) and address.kind == "tcp" and address.port < 1024:
        hint = " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
    elif code == errno.EADDRNOTAVAIL:
        hint = " (no interface of this machine has this address)"
    elif address.kind == "tcp" and address.host and not _is_literal(address.host):
        hint = " (write an IP address)"
    return ListenError(f"cannot listen on {address}: {error_words(problem)}{hint}")


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def error_words(problem: Any) -> str:
    """The system's words for it, without numbers and class names."""
    code = getattr(problem, "osError", None) or getattr(problem, "errno", None)
    if isinstance(code, OSError):
        code = code.errno
    if isinstance(code, int) and code > 0:
        return os.strerror(code)
    return str(problem).rstrip(".") or type(problem).__name__
