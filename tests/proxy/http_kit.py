"""A load balancer with one HTTP frontend for test scripts, and the laws that hold when a script is
over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import define
from twisted.logger import globalLogPublisher

from lbproxy.errors import MEANING, Kind
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.testing import LB, Client
from lbproxy.testing.origin import TCPConnection, TCPOrigin

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
A, B = "10.0.0.1:8000", "10.0.0.2:8000"
SERVERS = f"a {A}"
TWO_SERVERS = f"a {A}\nb {B}"


def post(body: bytes = b"", *, length: int = -1, headers: str = "") -> bytes:
    """A POST whose Content-Length is ``length``, or that of ``body``."""
    size = len(body) if length < 0 else length
    head = f"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: {size}\r\n{headers}\r\n"
    return head.encode() + body


def indented(lines: str) -> str:
    """``lines`` as the rest of a section."""
    return "".join(f"{line.strip()}\n" for line in lines.strip().splitlines())


@define(eq=False)
class Logged:
    """What the access log would say."""

    close: Kind
    status: int
    attempts: int
    detail: str
    server: str
    bytes_in: int
    bytes_out: int
    client_port: int


class Rig:
    """``web`` and ``app``: more lines of the frontend and the backend; ``servers``: as in a
    configuration.
    """

    def __init__(
        self,
        *,
        web: str = "",
        app: str = "",
        servers: str = SERVERS,
        filters: Any = None,
        listen: str = "tcp:8080",
        sections: str = "",
    ) -> None:
        lines = "".join(f"    {line}\n" for line in servers.splitlines())
        self._text = (
            f"[frontend web]\nlisten = {listen}\nbackend = app\n{indented(web)}\n"
            f"[backend app]\nbalance = roundrobin\n{indented(app)}servers =\n{lines}{sections}"
        )
        self.lb = LB.from_config(self._text)
        self.log: list[Logged] = []
        self.refusals: list[Kind] = []  # of connections without a request
        self.log_fails = False
        self._lead()
        self.backend = self.lb.backend("app")
        if filters is not None:
            self._use_filters(filters)
        self.closed = False
        self.failures: list[str] = []
        globalLogPublisher.addObserver(self._observe)

    def _lead(self) -> None:
        self.frontend = self.lb.service.frontends["web"]
        for one in self.frontend.lineage.members:
            one.write_log = self._logged

    def reload(self, line: str) -> None:
        """Go on with one line more in the frontend; filters given as objects are lost."""
        text = self._text.replace("backend = app\n", f"backend = app\n{line}\n", 1)
        assert self.lb.service.reload(text).ok
        self._lead()

    def _observe(self, event: Any) -> None:
        """Exceptions in timers are logged, not raised."""
        if "log_failure" in event and "timer" in (event.get("log_format") or ""):
            self.failures.append(event["log_failure"].getTraceback())

    def _use_filters(self, filters: Any) -> None:
        """As if the frontend had been configured with them."""
        from lbproxy.http.filter import compile_phases

        self.frontend.compile(compile_phases(filters))

    def _logged(self, exchange: Any) -> None:
        if not isinstance(exchange, HTTPTraffic):
            self.refusals.append(exchange.close)
            return
        self.log.append(
            Logged(
                exchange.close,
                exchange.status,
                exchange.attempts,
                exchange.detail,
                exchange.server_name,
                exchange.bytes_in,
                exchange.bytes_out,
                exchange.client_port,
            )
        )
        if self.log_fails:
            raise OSError(28, "No space left on device")

    # -- actors

    def raw(self, address: str = A) -> TCPOrigin:
        """A server whose every byte the script decides."""
        return self.lb.tcp_origin(address, address)

    def client(self) -> Client:
        return self.lb.connect("web")

    def state(self, name: str = "a") -> Any:
        """The live state of a server."""
        return self.backend.group.servers[name]

    def advance(self, seconds: float) -> None:
        self.lb.advance(seconds)

    def talk(self, request: bytes = GET) -> tuple[Client, TCPConnection]:
        """A client that has sent a request, and the connection its request came out of."""
        origin = self.lb.origins.get(A) or self.raw()
        client = self.client()
        client.send(request)
        return client, origin.connections[-1]

    @property
    def closes(self) -> list[str]:
        return [record.close.value for record in self.log]

    @property
    def clients(self) -> int:
        """Client connections that lbproxy still has."""
        return len(self.frontend.clients)

    # -- the laws

    def check(self) -> None:
        """Once every client has left, nothing is left behind; for the end of each script."""
        if self.closed:
            return
        self.closed = True
        try:
            self._check()
        finally:
            globalLogPublisher.removeObserver(self._observe)
        assert self.failures == []

    def _check(self) -> None:
        lb, frontend, backend = self.lb, self.frontend, self.backend
        lb.reactor.heal()
        for client in lb._clients:
            if client.established and not client.closed:
                client.resume()
                client.abort()
        lb.advance(0.1)
        if frontend.clients:  # half-closed tunnels, and those that are not being read
            for origin in lb.origins.values():
                origin.stop()
            lb.advance(200)
        self._nothing_runs()
        connectors = [server.connector for server in backend.group.servers.values()]
        assert sum(one.idle for one in connectors) <= _open_connections(lb)
        lb.advance(backend.spec.pool_idle + 1)
        assert all(not one.idle and not one.waiting for one in connectors)
        lb.advance(700)  # longer than any deadline of a connection that is being closed
        own = [t for t in lb.reactor.connections if _is_ours(t)]
        assert own == []
        wheel = lb.service.network.wheel
        assert not wheel._slots, "timers are left"
        assert wheel._call is None
        assert len(self.log) == frontend.counters.requests
        assert sum(frontend.counters.closes.values()) == len(self.log) + frontend.counters.refused
        assert len(self.refusals) <= frontend.counters.refused
        for record in self.log:
            assert_sensible(record)
        lb.close()

    def _nothing_runs(self) -> None:
        frontend, backend = self.frontend, self.backend
        assert frontend.clients == set()
        assert frontend.limits.addresses == 0
        assert len(backend.queue) == 0
        assert backend.retry_limit is None or backend.retry_limit.running == 0
        for server in backend.group.servers.values():
            assert server.active == 0
            assert server.sessions == set()
            counters = server.counters
            assert counters.ok + counters.failed <= counters.picked


def assert_sensible(record: Logged) -> None:
    """The status fits the reason."""
    meaning = MEANING[record.close]
    if record.close in (Kind.OK, Kind.REPLIED):
        assert record.status
    elif record.close in (Kind.CLIENT_GONE, Kind.CLIENT_STALLED):
        pass  # anything may have been sent before
    elif record.status >= 400 and record.status != meaning.status:
        assert record.attempts or record.close is Kind.UNSUPPORTED


def _open_connections(lb: Any) -> int:
    return sum(origin.open for origin in lb.origins.values())


def _is_ours(transport: Any) -> bool:
    """Belongs to lbproxy, not to a client or server of the script."""
    return type(transport.protocol).__module__.startswith("lbproxy.proxy")


def rigs() -> Iterator[Any]:
    """Body of the fixture: a factory of rigs that are checked at the end."""
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(**options))
        return made[-1]

    yield make
    for rig in made:
        rig.check()
