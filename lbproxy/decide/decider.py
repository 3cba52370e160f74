"""CONTROL. The decisions of a configuration about logged requests, for ``lbproxy replay``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, frozen

from lbproxy.balance.base import Need
from lbproxy.config.masking import masked
from lbproxy.config.model import BackendSpec, Config, FrontendSpec, ListenSpec
from lbproxy.config.value import value_lines
from lbproxy.decide.firewall import DryFirewalls, waf_name
from lbproxy.decide.logline import LoggedRequest
from lbproxy.decide.path import DryBackend, DryFrontend, DryTraffic, connected, dry_geo, dry_lists
from lbproxy.decide.protection import challenge_of, is_challenged, shed_of
from lbproxy.errors import Kind, Outcome
from lbproxy.http.geo import GeoLookup
from lbproxy.http.message import Invalid, RequestHead
from lbproxy.lists.addresslist import AddressList
from lbproxy.model.secrets import mask_text
from lbproxy.proxy.features.waf.spec import WafSpec

__all__ = ["Decider", "RequestDecision"]

_CACHE = 200_000  # shapes that are remembered for each configuration


@frozen
class RequestDecision:
    """The decision of a configuration about a request.

    ``answer``: the reply of lbproxy itself, or why the connection is closed; "" if a server
    answers. ``server``: the pick, if it depends on the request alone. ``servers``: the candidates,
    with the balancer. ``firewall``: its mode and the rules that the request reaches the threshold
    with. ``call``: target and exit of a call of a CORS proxy. ``challenge``: what happens to a
    client without a pass. ``shed``: when the request may be shed.
    """

    frontend: str = ""
    answer: str = ""
    route: str = ""
    backend: str = ""
    server: str = ""
    servers: str = ""
    filters: str = ""
    firewall: str = ""
    call: str = ""
    challenge: str = ""
    shed: str = ""

    def same(self, other: RequestDecision) -> bool:
        """Return whether two decisions have the same effect; the route does not matter."""
        return self == other or self == evolve(other, route=self.route)


class _Front(DryFrontend):
    """A frontend, and its filters as lines."""

    def __init__(
        self, spec: FrontendSpec, lists: Mapping[str, AddressList], geo: GeoLookup | None
    ) -> None:
        super().__init__(spec, lists, geo)
        self.filters = tuple(value_lines("lines:filter", masked(spec.filters)))

    def head(self, request: LoggedRequest) -> RequestHead | Invalid:
        """The head of ``request``, as far as the log shows it."""
        lines = [f"{request.method} {request.target or '/'} HTTP/1.1", f"Host: {request.host}"]
        if request.agent:
            lines.append(f"User-Agent: {request.agent}")
        if request.referer:
            lines.append(f"Referer: {request.referer}")
        head = self.parse("\r\n".join(lines).encode("utf-8", "replace").split(b"\r\n"))
        if isinstance(head, RequestHead):
            head.scheme = b"https" if request.tls else b"http"
        return Invalid(Kind.BAD_REQUEST, "this is no request") if head is None else head


class _Backend(DryBackend):
    """A backend, with its servers and its filters as lines."""

    def __init__(self, spec: BackendSpec) -> None:
        super().__init__(spec)
        self.needs: frozenset[Any] = frozenset(self.balancer.needs)
        lines = value_lines("line:balancer", spec.balance)
        lines += value_lines("lines:server", spec.servers) + value_lines(
            "lines:discovery", spec.discover
        )
        self.servers = "; ".join(lines)
        self.filters = tuple(value_lines("lines:filter", masked(spec.filters)))

    def sure_pick(self, traffic: DryTraffic) -> str:
        """The server that is picked, if that depends on the request alone."""
        if not self.needs:
            return ""
        lease = self.pick(traffic)
        if lease is None:
            return ""
        lease.release(Outcome.NEUTRAL)
        return lease.server.name


class Decider:
    """One configuration, ready to decide about many requests."""

    def __init__(self, config: Config) -> None:
        self.config = config
        lists, geo = dry_lists(config), dry_geo(config)
        self._fronts = {spec.name: _Front(spec, lists, geo) for spec in config.frontends}
        self._backends = {spec.name: _Backend(spec) for spec in config.backends}
        self._ports: dict[tuple[str, int], list[tuple[_Front, ListenSpec]]] = {}
        for front in self._fronts.values():
            for listen in front.spec.listen:
                if listen.address is not None and listen.address.port:
                    key = (front.spec.protocol, listen.address.port)
                    self._ports.setdefault(key, []).append((front, listen))
        self._firewalls = DryFirewalls(config)
        self._calls: dict[str, Any] = {}
        self._shape = _Shape(config, self._backends.values())
        self._known: dict[tuple[Any, ...], RequestDecision] = {}

    def decide(self, request: LoggedRequest) -> RequestDecision:
        """The decision; remembered for requests that differ in nothing the configuration
        looks at.
        """
        shape = self._shape.of(request)
        known = self._known.get(shape)
        if known is None:
            if len(self._known) >= _CACHE:
                self._known.clear()
            known = self._known[shape] = self._decide(request)
        return known

    def _find(self, request: LoggedRequest) -> _Front | None:
        """By the port, else by the frontend's name, else the only one there is."""
        found = self._ports.get((request.mode, request.port)) if request.port else None
        if found:
            for front, listen in found:
                if listen.tls is request.tls and request.mode == "http":
                    return front
            return found[0][0]
        named = self._fronts.get(request.frontend)
        if named is not None and named.spec.protocol == request.mode:
            return named
        same = [front for front in self._fronts.values() if front.spec.protocol == request.mode]
        return same[0] if len(same) == 1 and not request.frontend else None

    def _decide(self, request: LoggedRequest) -> RequestDecision:
        front = self._find(request)
        if front is None:
            return RequestDecision(answer="no listener")
        name = front.spec.name
        if not (front.admits_peer(request.peer_ip) and front.admits_client(request.client_ip)):
            return RequestDecision(name, "denied")
        traffic = DryTraffic(
            None, request.client_ip, sni=request.sni, scheme="https" if request.tls else "http",
            alpn=(request.alpn,) if request.alpn else (), info=connected(request.port),
        )  # fmt: skip
        if request.mode == "http":
            head = front.head(request)
            if isinstance(head, Invalid):
                return RequestDecision(name, f"{head.status} {head.detail}")
            traffic.request = head
        verdict = front.decide(traffic)
        filters = "; ".join(front.filters)
        if verdict.ends == "no_route" and front.spec.mode == "corsproxy":
            assert traffic.request is not None
            call, refusal = self._call(front.spec, traffic.request)
            answer = refusal or "fetches the URL that the call names"
            return RequestDecision(name, answer, filters=filters, call=call)
        if verdict.ends == "no_route":
            answer = "404 no route" if request.mode == "http" else "closed: no route"
            return RequestDecision(name, answer, filters=filters)
        if verdict.route is None:
            return RequestDecision(name, f"{verdict.ends} {verdict.detail}")
        if verdict.reply is not None:
            answer = f"{verdict.reply.status} {mask_text(verdict.location)}".rstrip()
            return RequestDecision(name, answer, verdict.route.text, filters=filters)
        backend = self._backends[verdict.backend]
        return RequestDecision(
            name, "", verdict.route.text, backend.spec.name, backend.sure_pick(traffic),
            backend.servers, "; ".join(front.filters + backend.filters),
            self._firewalls.verdict(waf_name(front.spec, verdict.route), traffic),
            challenge=challenge_of(front.spec, verdict.route, traffic),
            shed=shed_of(front.spec, verdict.route, traffic),
        )  # fmt: skip

    def _call(self, spec: FrontendSpec, head: RequestHead) -> tuple[str, str]:
        """Return target and exit of a call of a CORS proxy, or how it is refused."""
        from lbproxy.decide.corscalls import DryCalls

        found = self._calls.get(spec.name)
        if found is None:
            found = self._calls[spec.name] = DryCalls(self.config, spec)
        verdict: tuple[str, str] = found.judged(head)
        return verdict


class _Shape:
    """The parts of a request that a configuration reads; a cache key needs no others."""

    def __init__(self, config: Config, backends: Iterable[_Backend]) -> None:
        needs = {need for backend in backends for need in backend.needs}
        challenged = any(is_challenged(one) for one in config.frontends)
        every = Need.REQUEST in needs or bool(config.of(WafSpec)) or challenged
        conditions = [
            one for f in config.frontends for route in f.routes for one in route.conditions
        ]
        verbs = {verb for verb, _, _ in conditions}
        headers = {args[0].lower() for verb, args, _ in conditions if verb == "header"}
        # What a redirect makes of a request may hold anything of it.
        actions = any(route.action is not None for f in config.frontends for route in f.routes)
        self.peer = any(f.allow or f.deny for f in config.frontends)
        self.client = "client" in verbs or Need.SOURCE in needs or every or actions
        self.agent = "user-agent" in headers or every
        self.referer = "referer" in headers or every
        calls = any(f.mode == "corsproxy" for f in config.frontends)
        self.target = bool(verbs & {"path", "query"}) or every or actions or calls
        self.host = "host" in verbs or "host" in headers or every or actions
        self.sizes = sorted(f.max_url for f in config.frontends)

    def of(self, request: LoggedRequest) -> tuple[Any, ...]:
        """The key."""
        target = request.target
        return (
            request.mode, request.frontend, request.port, request.tls, request.method,
            request.host if self.host else "",
            target if self.target or not _PLAIN.fullmatch(target) or len(target) > 60 else "",
            request.peer_ip if self.peer else "", request.client_ip if self.client else "",
            request.agent if self.agent or len(request.agent) > 500 else "",
            request.referer if self.referer or len(request.referer) > 500 else "",
            request.sni, request.alpn,
        )  # fmt: skip


_PLAIN = re.compile(r"/[\w/.?=&-]*", re.ASCII)
