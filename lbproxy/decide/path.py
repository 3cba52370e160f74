"""CONTROL. The path of a decision without traffic: address lists, request head, routes, backend,
pick.

``lbproxy explain`` and ``lbproxy replay`` take this path. It asks the same objects as the data path
does, in the same order; what is decided here and not in traffic, or the other way round, is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from random import Random
from time import time
from typing import Any

from attrs import define, field, frozen

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.lease import Lease
from lbproxy.balance.server import AdminState, ServerState
from lbproxy.config.model import BackendSpec, Config, FrontendSpec, ServerSpec
from lbproxy.errors import ProxyError
from lbproxy.guard.addresses import AddressSet
from lbproxy.http.forward import Forwarder
from lbproxy.http.geo import GeoLookup
from lbproxy.http.message import Invalid, Limits, Reply, RequestHead
from lbproxy.http.methods import MethodPolicy
from lbproxy.http.route import Route, Router
from lbproxy.interfaces import Env
from lbproxy.lists.access import access_of
from lbproxy.lists.addresslist import AddressList
from lbproxy.observe.record import Connection
from lbproxy.proxy.features.listing.spec import ListSpec
from lbproxy.proxy.features.locating.table import GeoTable

__all__ = [
    "DryBackend",
    "DryFrontend",
    "DryTraffic",
    "PathVerdict",
    "connected",
    "dry_env",
    "dry_geo",
    "dry_lists",
]


@define
class DryTraffic:
    """A request or connection without traffic, for routes, balancers and route actions."""

    request: RequestHead | None
    client_ip: str
    sni: str = ""
    alpn: tuple[str, ...] = ()
    scheme: str = "http"
    client_port: int = 40000
    frontend_name: str = ""
    backend_name: str = ""
    server_name: str = ""
    request_id: str = "explain"
    response: Any = None
    started: float = field(factory=time)
    info: Any = field(factory=Connection)
    frontend: Any = None


def connected(port: int) -> Connection:
    """A connection to ``port``."""
    made = Connection()
    made.local_port = port
    return made


@frozen
class PathVerdict:
    """The end of the path: at a ``route``, or before one.

    ``ends``: "" at a route, else ``denied`` (address lists), ``no_route`` or the status of an
    error, with ``detail``. ``asked``: the routes were evaluated. ``reply``: the reply of a route
    with an action; ``backend``: the name of the backend otherwise.
    """

    ends: str = ""
    detail: str = ""
    route: Route | None = None
    reply: Reply | None = None
    asked: bool = True

    @property
    def backend(self) -> str:
        """The name of the backend, "" without one."""
        return "" if self.route is None or self.route.action is not None else self.route.backend

    @property
    def location(self) -> str:
        """The target of a redirect, "" for any other reply."""
        headers = [] if self.reply is None else self.reply.headers
        found = (value.decode("latin-1") for name, value in headers if name.lower() == b"location")
        return next(found, "")


def dry_lists(config: Config) -> dict[str, AddressList]:
    """Return the lists of a configuration as their files are now; URLs are not fetched."""
    from lbproxy.proxy.features.listing.reading import read_source

    found = {}
    for spec in config.of(ListSpec):
        found[spec.name] = one = AddressList(spec.name)
        if not spec.url:
            with suppress(OSError, ValueError):
                one.load(read_source(spec).prefixes)
    return found


def dry_geo(config: Config) -> GeoLookup | None:
    """Return the files of ``geoip`` as they are now; None if there are none that can be read."""
    try:
        return GeoTable(config.settings.geoip) if config.settings.geoip else None
    except ValueError:
        return None


def dry_env(name: str) -> Env:
    """The surroundings of extensions: a clock that stands at 0 and a repeatable source of
    chance.
    """
    return Env(now=lambda: 0.0, random=Random(0), name=name)


class DryFrontend:
    """A frontend that makes decisions and serves no traffic."""

    def __init__(
        self,
        spec: FrontendSpec,
        lists: Mapping[str, AddressList] | None = None,
        geo: GeoLookup | None = None,
    ) -> None:
        self.spec = spec
        self.lists = lists or {}
        self.tracks: Mapping[str, Any] = {}  # nothing was counted
        self.geo = geo
        self.router = Router(spec.routes, spec.backend, env=dry_env(spec.name))
        self._access = access_of(spec.allow, spec.deny, self.lists)
        self._peers = access_of(spec.allow_peers, spec.deny_peers, self.lists)
        self._proxies = AddressSet(spec.trusted_proxies)
        self._limits = Limits(spec.max_header_bytes, spec.max_headers, spec.max_url)
        self._forwarder = Forwarder(spec)
        self._methods = MethodPolicy(spec)

    def parse(self, lines: Iterable[bytes]) -> RequestHead | Invalid | None:
        """The head of the request with these lines, or what it is refused with; None if it is no
        request.
        """
        from lbproxy.http.h1 import RequestParser

        data = b"\r\n".join([*lines, b"", b""])
        events = RequestParser(self._limits).receive(data)
        first = events[0] if events else None
        return first if isinstance(first, RequestHead | Invalid) else None

    def admits(self, peer_ip: str) -> bool:
        """Return whether the address lists let a connection from ``peer_ip`` in."""
        return self._peers.allows(peer_ip) and (
            self._access.allows(peer_ip) or peer_ip in self._proxies
        )

    def admits_peer(self, peer_ip: str) -> bool:
        """Return whether ``allow_peers`` and ``deny_peers`` admit a connection from ``peer_ip``."""
        return self._peers.allows(peer_ip)

    def admits_client(self, client_ip: str) -> bool:
        """Return whether ``allow`` and ``deny`` let the client at ``client_ip`` pass, once it is
        known.
        """
        return self._access.allows(client_ip)

    def find_client(self, traffic: DryTraffic) -> bool:
        """Let ``traffic`` come from whom a trusted proxy speaks for; whether it does.

        X-Forwarded-For and similar fields of other clients are removed, as in traffic.
        """
        traffic.frontend = self
        peer, head = traffic.client_ip, traffic.request
        if head is None:
            return False
        traffic.client_ip, traffic.client_port, traffic.scheme = self._forwarder.client(
            peer, head, traffic.scheme, traffic.client_port
        )
        return traffic.client_ip != peer

    def decide(self, traffic: DryTraffic) -> PathVerdict:
        """Return the verdict about an admitted request or connection."""
        traffic.frontend_name = self.spec.name
        traffic.frontend = self
        head = traffic.request
        try:
            if head is not None and head.method not in self._methods.plain:
                own = self._methods.judge(head)
                if own is not None:
                    return PathVerdict(str(own.status), "Max-Forwards is 0", asked=False)
        except ProxyError as error:
            return PathVerdict(str(error.status), error.detail, asked=False)
        try:
            route = self.router.match(traffic)
        except ProxyError as error:
            return PathVerdict(str(error.status), error.detail)
        if route is None:
            return PathVerdict("no_route")
        action = route.action
        try:
            return PathVerdict(route=route, reply=None if action is None else action.reply(traffic))
        except ProxyError as error:
            return PathVerdict(str(error.status), error.detail)


def _discovered(spec: BackendSpec) -> Iterator[ServerSpec]:
    """Return the servers that a look-up may find, one for each name, with the DNS name as address.

    Nothing is looked up: how many there are at run time depends on the answer.
    """
    for line in spec.discover:
        for name in line.names:
            yield line.server_at(name, line.address.host)


@define(eq=False)
class DryBackend:
    """A backend that picks servers and dials none: all are up and idle.

    Each name of a discovery line is a server.
    """

    spec: BackendSpec
    balancer: Any = field(init=False)
    group: ServerGroup = field(init=False)

    def __attrs_post_init__(self) -> None:
        spec, env = self.spec, dry_env(self.spec.name)
        self.balancer = spec.balance.cls(spec.balance.options, env)
        self.group = ServerGroup(self.balancer, env.now)
        with self.group.changes():
            for server in (*spec.servers, *_discovered(spec)):
                state = ServerState(spec.name, server, weight=server.weight, maxconn=server.maxconn)
                state.addresses = server.target.sockets
                state.admin = AdminState(server.admin)
                self.group.add(state)

    def pick(self, traffic: DryTraffic) -> Lease | None:
        """A lease of the server that the balancer picks; None if no server has a weight."""
        return self.group.pick(traffic)
