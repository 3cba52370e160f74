"""CONTROL. :class:`LoadBalancerFixture`: a complete load balancer on a :class:`MemoryReactor`, with
fake servers and clients.

Tests use it, usually through the pytest fixture ``lbproxy_factory``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from textwrap import dedent
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lbproxy.cache.givenurl import target_of
from lbproxy.testing.client import Client, PendingResponse, Response, open_client
from lbproxy.testing.memory import MemoryReactor
from lbproxy.testing.origin import Handler, HTTPOrigin, TCPOrigin
from lbproxy.testing.wire import render

if TYPE_CHECKING:
    from OpenSSL import SSL

    from lbproxy.balance.server import ServerState
    from lbproxy.config.model import FrontendSpec, ListenSpec
    from lbproxy.proxy.backend import Backend
    from lbproxy.service import LoadBalancer

__all__ = ["LB", "LoadBalancerFixture"]

HeaderArgument = Mapping[str, str] | Sequence[tuple[str, str]] | None


class LoadBalancerFixture:
    """A running load balancer on a virtual clock, with fake servers and clients.

    ``service``: the :class:`lbproxy.service.LoadBalancer`. ``reactor``: the :class:`MemoryReactor`
    that everything runs on. ``origins``: the fake servers by name. :mod:`lbproxy.testing` has an
    example.
    """

    def __init__(self, service: LoadBalancer, reactor: MemoryReactor) -> None:
        self.service = service
        self.reactor = reactor
        self.origins: dict[str, HTTPOrigin | TCPOrigin] = {}
        self._clients: list[Client] = []
        self._stopped = False
        service.startService()
        reactor.pump()

    @classmethod
    def from_config(
        cls, text: str, *, reactor: MemoryReactor | None = None, **options: Any
    ) -> LoadBalancerFixture:
        """Start a load balancer with the configuration ``text`` (common indentation is removed).

        ``options`` are passed to :meth:`lbproxy.service.LoadBalancer.from_config`. ``random`` has a
        fixed seed unless given, so every run is the same. Access logs are kept in memory
        (:meth:`log_lines`), whatever their path.
        """
        from lbproxy.logs.memory import MemorySink
        from lbproxy.net.stock import StockNetwork
        from lbproxy.service import LoadBalancer

        reactor = reactor or MemoryReactor()
        options.setdefault("random", Random(0))
        options.setdefault("sinks", MemorySink)
        options.setdefault("network", StockNetwork(reactor))  # overrides [lbproxy] transport
        service = LoadBalancer.from_config(dedent(text), reactor=reactor, **options)
        return cls(service, reactor)

    # -- surroundings

    def origin(self, name: str, address: str, handler: Handler = b"ok") -> HTTPOrigin:
        """Start a fake HTTP server at ``address`` ("10.0.0.1:8000" or "unix:/path"); see
        :class:`HTTPOrigin`.
        """
        origin = HTTPOrigin(self.reactor, name, address, handler)
        self.origins[name] = origin
        return origin

    def tcp_origin(
        self, name: str, address: str, handler: str | Callable[[bytes], bytes | None] | None = None
    ) -> TCPOrigin:
        """Start a fake TCP server at ``address``; see :class:`TCPOrigin`."""
        origin = TCPOrigin(self.reactor, name, address, handler)
        self.origins[name] = origin
        return origin

    def advance(self, seconds: float) -> None:
        """Advance the virtual clock by ``seconds``."""
        self.reactor.advance(seconds)

    def backend(self, name: str) -> Backend:
        """Return the live backend ``name``; its ``group.servers`` are the server states."""
        return self.service.backend(name)

    def server(self, backend: str, name: str) -> ServerState:
        """Return the live :class:`lbproxy.balance.server.ServerState` ``name`` of ``backend``."""
        return self.backend(backend).group.servers[name]

    def log_lines(self, path: str = "") -> list[str]:
        """Return the lines of the access log ``path``, as configured; "" for the lines of all logs.

        Raises KeyError if no frontend has such a log.
        """
        from lbproxy.logs.memory import MemorySink

        sinks = self.service.generation.sinks
        found = [sinks[path]] if path else sinks.values()
        return [line for sink in found if isinstance(sink, MemorySink) for line in sink.lines]

    # -- traffic

    def connect(
        self,
        target: str,
        *,
        client: str = "203.0.113.9",
        tls: str | None = None,
        context: SSL.Context | None = None,
    ) -> Client:
        """Open a raw connection to a frontend (by name: its first listener) or to ``host:port``.

        ``client``: the client's address. ``tls``: use TLS and send this server name.
        """
        host, port = self._address(target)
        made = open_client(
            self.reactor, host, port, client_ip=client, tls_name=tls, context=context
        )
        self._clients.append(made)
        return made

    def get(self, url: str, **options: Any) -> Response:
        """Call :meth:`request` with GET."""
        return self.request("GET", url, **options)

    def request(self, method: str, url: str, *, within: float = 60.0, **options: Any) -> Response:
        """Send a request and wait for its response, at most ``within`` seconds of virtual time.

        Options as in :meth:`begin`. Raises :class:`NoResponse` if no complete response arrives.
        """
        pending = self.begin(method, url, **options)
        response = pending.wait(within)
        if "via" not in options:
            pending.client.close()
        return response

    def begin(
        self,
        method: str,
        url: str,
        *,
        headers: HeaderArgument = None,
        body: bytes | None = None,
        client: str = "203.0.113.9",
        frontend: str = "",
        via: Client | None = None,
        context: SSL.Context | None = None,
    ) -> PendingResponse:
        """Send a request without waiting.

        The URL's host is sent as ``Host``. Its port selects the listener, unless ``frontend`` is
        set or only one listener fits. ``via``: use this connection, from :meth:`connect` or an
        earlier ``PendingResponse.client``, and leave it open.
        """
        parts = urlsplit(url)
        if via is None:
            target = frontend or self._listener(parts.scheme, parts.port)
            name = (parts.hostname or "") if parts.scheme == "https" else None
            via = self.connect(target, client=client, tls=name, context=context)
        path = target_of(url)
        lines = list(headers.items()) if isinstance(headers, Mapping) else list(headers or ())
        given = {key.lower() for key, _ in lines}
        if "host" not in given:
            lines.insert(0, ("Host", parts.netloc.rpartition("@")[2]))
        if body is not None and not given & {"content-length", "transfer-encoding"}:
            lines.append(("Content-Length", str(len(body))))
        return via.request(method, render(f"{method} {path} HTTP/1.1", lines, body or b""))

    # -- the end

    def close(self) -> None:
        """Stop the load balancer and advance the clock until it has stopped. A second call has no
        effect.
        """
        if self._stopped:
            return
        self._stopped = True
        for client in self._clients:
            if client.established and not client.closed:
                client.abort()
        stopped: list[Any] = []
        result = self.service.stopService()
        if result is not None and hasattr(result, "addBoth"):
            result.addBoth(stopped.append)
            if not self.reactor.advance_until(lambda: stopped, 3600.0):
                raise AssertionError("the load balancer did not stop within an hour")
            if hasattr(stopped[0], "raiseException"):
                stopped[0].raiseException()
        self.reactor.stop()

    def __enter__(self) -> LoadBalancerFixture:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- which listener

    def _frontends(self) -> Iterable[FrontendSpec]:
        return self.service.config.frontends

    def _address(self, target: str) -> tuple[str, int]:
        for spec in self._frontends():
            if spec.name == target:
                return self._listen_address(spec.listen[0])
        if target.startswith(("unix:", "/")):
            return target.removeprefix("unix:"), -1
        host, colon, port = target.rpartition(":")
        if not colon or not port.isdigit():
            names = ", ".join(spec.name for spec in self._frontends())
            raise LookupError(f"no frontend {target!r}; there are: {names}")
        return host.strip("[]") or "127.0.0.1", int(port)

    def _listen_address(self, listen: ListenSpec) -> tuple[str, int]:
        address = listen.address
        if address is None or (address.kind == "tcp" and not address.port):
            raise LookupError(f"give {listen.endpoint!r} a fixed port, so that tests can reach it")
        if address.kind == "unix":
            return address.path, -1
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(
            address.host, address.host
        )
        return host, address.port

    def _listener(self, scheme: str, port: int | None) -> str:
        """Return the target of a connection for a URL."""
        fitting = [
            self._listen_address(listen)
            for spec in self._frontends()
            if spec.mode != "tcp"
            for listen in spec.listen
            if listen.tls == (scheme == "https")
        ]
        wanted = port or {"https": 443}.get(scheme, 80)
        chosen = [address for address in fitting if address[1] == wanted]
        if not chosen and port is None:
            chosen = fitting
        if not chosen:
            raise LookupError(f"no {scheme} listener on port {wanted}")
        host, number = chosen[0]
        return f"unix:{host}" if number < 0 else f"[{host}]:{number}"


LB = LoadBalancerFixture
"""Short name of :class:`LoadBalancerFixture`."""
