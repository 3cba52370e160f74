"""A TCP frontend before a backend, in memory; whatever a test did to it, nothing may be left over
at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory

from lbproxy.balance.server import ServerState
from lbproxy.net.stock import StockNetwork
from lbproxy.proxy.tcp.session import Session
from lbproxy.testing import LB, LoadBalancerFixture, MemoryReactor, TCPOrigin
from lbproxy.testing.origin import TCPConnection
from lbproxy.tls.contexts import ServerContextFactory
from lbproxy.tls.parameters import TLSParameters
from tests.support import tls

__all__ = ["A", "B", "Bench", "C", "Make", "TLSOrigin", "nothing_armed", "origins"]

A, B, C = "10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"


class Bench:
    """Frontend ``t`` before backend ``raw``, and a record of every session that ended.

    ``refusals``: the records of connections that were refused.

    ``failures``: what was logged with a traceback; :meth:`close` wants none unless ``may_fail``.
    """

    def __init__(self, lb: LoadBalancerFixture, *, may_fail: bool = False) -> None:
        self.lb = lb
        self.may_fail = may_fail
        self.records: list[Any] = []
        self.refusals: list[Any] = []
        self.failures: list[Any] = []
        self.closed = False
        self.frontend = lb.service.frontend("t")
        self.backend = lb.service.backend("raw")
        self.frontend.write_log = self._ended
        self.seen: set[ServerState] = set()
        for backend in lb.service.backends.values():
            self.seen.update(backend.group.servers.values())
        observer: Any = self._logged
        self._observer = observer
        globalLogPublisher.addObserver(observer)

    @classmethod
    def of(cls, text: str, **options: Any) -> Bench:
        """From a whole configuration."""
        return cls(LB.from_config(dedent(text)), **options)

    @property
    def last(self) -> Any:
        """The session that ended last."""
        return self.records[-1]

    @property
    def closes(self) -> list[str]:
        """How the sessions ended, in order."""
        return [record.close.value for record in self.records]

    @property
    def session(self) -> Any:
        """The only session there is."""
        (session,) = self.frontend.clients
        return session

    def server(self, name: str) -> Any:
        """A server's state."""
        server = self.backend.group.servers[name]
        self.seen.add(server)
        return server

    def _ended(self, record: Any) -> None:
        (self.records if isinstance(record, Session) else self.refusals).append(record)

    def _logged(self, event: Any) -> None:
        if event.get("log_failure") is not None:
            self.failures.append(event["log_failure"])

    def close(self) -> None:
        """Stop, then look for anything left over."""
        if self.closed:
            return
        self.closed = True
        lb, service = self.lb, self.lb.service
        for backend in service.backends.values():
            self.seen.update(backend.group.servers.values())
        lb.close()
        globalLogPublisher.removeObserver(self._observer)
        for frontend in service.frontends.values():
            assert frontend.clients == set()
            assert (frontend.limits.active, frontend.limits.addresses) == (0, 0)
        assert service.total.active == 0
        assert all(len(backend.queue) == 0 for backend in service.backends.values())
        for server in self.seen:
            assert (server.active, server.sessions) == (0, set()), server
        self._check_records()
        nothing_armed(lb)
        assert self.may_fail or not self.failures, self.failures[0].getTraceback()

    def _check_records(self) -> None:
        assert len({id(record) for record in self.records}) == len(self.records)
        assert all(record.t_total >= 0 and record.over for record in self.records)
        counters = self.frontend.counters
        assert sum(counters.closes.values()) == len(self.records) + counters.refused
        assert len(self.refusals) == counters.refused
        assert counters.bytes_in == sum(record.bytes_in for record in self.records)
        assert counters.bytes_out == sum(record.bytes_out for record in self.records)


def nothing_armed(lb: LoadBalancerFixture) -> None:
    """No connection of lbproxy's is open and no deadline waits."""
    wheel = lb.service.network.wheel
    armed = [t for timers in wheel._slots.values() for t in timers if t.armed]
    assert not armed, [timer._callback for timer in armed]
    for origin in lb.origins.values():
        origin.stop()
    lb.reactor.advance(5)
    assert lb.reactor.connections == []
    assert lb.reactor.getDelayedCalls() == []


Make = Callable[..., Bench]


def make(
    frontend: str = "",
    backend: str = "",
    servers: tuple[str, ...] = (f"a {A}", f"b {B}"),
    listen: str = "tcp:9000",
    more: str = "",
    may_fail: bool = False,
) -> Bench:
    """A bench; ``frontend`` and ``backend`` are further lines of their sections, ``more`` further
    sections.
    """
    lines = [
        "[frontend t]",
        "mode = tcp",
        f"listen = {listen}",
        *dedent(frontend).splitlines(),
        "[backend raw]",
        "servers =",
        *(f"    {server}" for server in servers),
        *dedent(backend).splitlines(),
        *dedent(more).splitlines(),
    ]
    if "routes" not in frontend:
        lines.insert(3, "backend = raw")
    return Bench.of("\n".join(lines), may_fail=may_fail)


def origins(bench: Bench, handler: Any = "echo") -> tuple[TCPOrigin, TCPOrigin]:
    """Both servers."""
    return bench.lb.tcp_origin("a", A, handler), bench.lb.tcp_origin("b", B, handler)


class TLSOrigin(TCPOrigin):
    """A TCP origin that speaks TLS; with ``header`` it reads a PROXY line first, kept in
    ``headers``.
    """

    def __init__(
        self,
        reactor: MemoryReactor,
        address: str,
        folder: Path,
        *names: str,
        handler: Any = None,
        header: bool = False,
        trusted: bool = True,
    ) -> None:
        self.creator = ServerContextFactory([tls.pair(folder, *names, trusted=trusted)])
        self.header = header
        self.headers: list[bytes] = []
        super().__init__(reactor, names[0], address, handler)

    def start(self) -> None:
        """Listen."""
        host, _, port = self.address.rpartition(":")
        factory: Any = Factory.forProtocol(self._protocol)
        if self.header:
            factory = Factory.forProtocol(lambda: _HeaderFirst(self))
        else:
            factory = TLSMemoryBIOFactory(self.creator, False, factory, self.reactor)
        factory.noisy = False
        self._port = self.reactor.listenTCP(int(port), factory, interface=host)

    def secure(self, transport: Any, received: bytes) -> None:
        """Begin TLS after the header."""
        StockNetwork(self.reactor).dialler.start_tls(
            transport,
            TLSParameters(self.creator, server_side=True),
            lambda info: TCPConnection(self),
            lambda error: None,
            timeout=5,
            received=received,
        )


class _HeaderFirst(Protocol):
    def __init__(self, origin: TLSOrigin) -> None:
        self._origin = origin
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        line, end, rest = self._data.partition(b"\r\n")
        if end:
            self._origin.headers.append(line)
            self._origin.secure(self.transport, rest)
