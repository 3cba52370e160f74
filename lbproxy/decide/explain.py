"""CONTROL. What would happen to a request or a connection, without any traffic: ``lbproxy explain``."""

from __future__ import annotations

import json
from random import Random
from time import time
from typing import Any
from urllib.parse import SplitResult, urlsplit

from attrs import asdict, define, field

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import ServerState
from lbproxy.config.model import BackendSpec, Config, FrontendSpec, ListenSpec, PluginSpec
from lbproxy.errors import ProxyError
from lbproxy.guard.addresses import Access
from lbproxy.http.condition import VERBS
from lbproxy.http.conditional import Conditions
from lbproxy.http.forward import Forwarder
from lbproxy.http.h1 import RequestParser
from lbproxy.http.message import Headers, Invalid, Limits, RequestHead
from lbproxy.http.route import Router
from lbproxy.interfaces import Env
from lbproxy.observe.record import Connection

__all__ = ["Explanation", "Traffic", "connected", "explain_http", "explain_tcp"]


@define
class Step:
    """One route that was looked at."""

    route: str
    taken: bool
    why: str


@define
class Candidate:
    """One server of the backend."""

    server: str
    address: str
    state: str
    score: float | None
    meaning: str


@define
class Explanation:
    """The decisions, in the order they are made; ``error`` ends them early."""

    listener: str = ""
    frontend: str = ""
    mode: str = ""
    admitted: str = ""
    filters: list[str] = field(factory=list)
    routes: list[Step] = field(factory=list)
    backend: str = ""
    action: str = ""
    balance: str = ""
    candidates: list[Candidate] = field(factory=list)
    pick: str = ""
    why: str = ""
    error: str = ""

    def as_json(self) -> str:
        """For programs."""
        return json.dumps(asdict(self), indent=2)

    def as_text(self) -> str:
        """For people."""
        lines = [f"listener   {self.listener}"] if self.listener else []
        if self.frontend:
            lines.append(f"frontend   {self.frontend} ({self.mode})")
        if self.admitted:
            lines.append(f"client     {self.admitted}")
        if self.filters:
            lines.append("filters    " + ", ".join(self.filters))
        for step in self.routes:
            lines.append(
                f"{'route  ->' if step.taken else 'route    '}  {step.route}  [{step.why}]"
            )
        if self.action:
            lines.append(f"action     {self.action}")
        if self.backend:
            lines.append(f"backend    {self.backend}, balance {self.balance}")
        for one in self.candidates:
            mark = "->" if one.server == self.pick else "  "
            score = "" if one.score is None else f"  score {one.score:.4g}"
            lines.append(
                f"server  {mark} {one.server} {one.address} {one.state}{score}  {one.meaning}"
            )
        if self.pick:
            lines.append(f"pick       {self.pick}: {self.why}")
        if self.error:
            lines.append(f"ends       {self.error}")
        return "\n".join(lines)


@define
class Traffic:
    """What routes, balancers and route actions read, before anything is connected."""

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


def explain_http(
    config: Config, method: str, url: str, headers: Headers, client_ip: str = "192.0.2.1"
) -> Explanation:
    """Decisions for ``method url``; ``url`` is absolute.  ValueError when it is not http or https."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an absolute http:// or https:// URL")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = _listener(config, "http", port, tls=parts.scheme == "https")
    limits = found[0] if found is not None else FrontendSpec(name="")
    head = _head(method, parts, headers, limits)
    if isinstance(head, Invalid):
        return Explanation(error=f"{head.status}: {head.detail}")
    head.scheme = parts.scheme.encode("ascii")
    sni = (parts.hostname or "").lower() if parts.scheme == "https" else ""
    traffic = Traffic(head, client_ip, sni=sni, scheme=parts.scheme, info=connected(port))
    return _explain(config, found, traffic, f"no http frontend listens on port {port}")


def connected(port: int) -> Connection:
    """A connection to ``port``."""
    made = Connection()
    made.local_port = port
    return made


def _head(
    method: str, parts: SplitResult, headers: Headers, spec: FrontendSpec
) -> RequestHead | Invalid:
    """The request as the codec reads it, with a client's usual Host; or what it would be refused with."""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    method = method.upper()
    if method == "CONNECT":
        target = f"{parts.hostname}:{parts.port or 443}"
    try:
        lines = [f"{method} {target} HTTP/1.1".encode("ascii")]
        authority = host.encode("ascii" if host.isascii() else "idna")
    except UnicodeError:
        raise ValueError(
            "method and URL are ASCII on the wire: write other characters of the URL as %XX"
        ) from None
    if not any(name.lower() == b"host" for name, _ in headers):
        lines.append(b"Host: " + authority)
    lines += [name + b": " + value for name, value in headers]
    limits = Limits(spec.max_header_bytes, spec.max_headers, spec.max_url)
    events = RequestParser(limits).receive(b"\r\n".join(lines) + b"\r\n\r\n")
    first = events[0] if events else None
    if isinstance(first, RequestHead | Invalid):
        return first
    raise ValueError("this is no request")


def explain_tcp(
    config: Config,
    port: int,
    sni: str = "",
    alpn: tuple[str, ...] = (),
    client_ip: str = "192.0.2.1",
) -> Explanation:
    """Decisions for a TCP connection to ``port``."""
    traffic = Traffic(
        None, client_ip, sni=sni.lower(), alpn=alpn, scheme="tcp", info=connected(port)
    )
    found = _listener(config, "tcp", port, tls=None)
    return _explain(config, found, traffic, f"no tcp frontend listens on port {port}")


def _listener(
    config: Config, mode: str, port: int, tls: bool | None
) -> tuple[FrontendSpec, ListenSpec, str] | None:
    """The listener a client would reach, or the nearest thing to it, and what had to be assumed."""
    every = [(f, one) for f in config.frontends if f.mode == mode for one in f.listen]
    exact = [
        (f, one)
        for f, one in every
        if one.address is not None and one.address.port == port and tls in (None, one.tls)
    ]
    if exact:
        return (*exact[0], "")
    if mode == "http" and port in (80, 443):  # no port was asked for
        for frontend, one in every:
            if one.tls is tls:
                return (
                    frontend,
                    one,
                    f" (nothing listens on {port}; the first {'tls' if tls else 'plain'} one)",
                )
    return None


def _explain(
    config: Config,
    found: tuple[FrontendSpec, ListenSpec, str] | None,
    traffic: Traffic,
    nothing: str,
) -> Explanation:
    result = Explanation()
    if found is None:
        known = sorted({str(one.endpoint) for f in config.frontends for one in f.listen})
        result.error = f"{nothing}; listeners: {', '.join(known) or 'none'}"
        return result
    frontend, listen, assumed = found
    result.listener = listen.endpoint + assumed
    result.frontend, result.mode = frontend.name, frontend.mode
    traffic.frontend_name = frontend.name
    if not Access(frontend.allow, frontend.deny).allows(traffic.client_ip):
        result.admitted = f"{traffic.client_ip} is refused"
        result.error = "denied: allow/deny of the frontend"
        return result
    result.admitted = f"{traffic.client_ip} is admitted"
    if traffic.request is not None:
        _behind_proxies(frontend, traffic.request, traffic, result)
        if traffic.request.method == b"CONNECT" and frontend.connect != "forward":
            result.error = "405: CONNECT"
            return result
    env = Env(now=lambda: 0.0, random=Random(0), name=frontend.name)
    result.filters = [_filter(plugin, traffic) for plugin in frontend.filters]
    router = Router(frontend.routes, frontend.backend, env=env)
    result.routes = [Step(*line) for line in router.explain(traffic)]
    try:
        route = router.match(traffic)
    except ProxyError as error:
        result.error = f"{error.status}: {error.detail}"
        return result
    if route is None:
        result.error = "no_route: 404" if frontend.mode == "http" else "no_route: closed"
        return result
    if route.action is not None:
        reply = route.action.reply(traffic)
        where = next(
            (v.decode("latin-1") for n, v in reply.headers if n.lower() == b"location"), ""
        )
        result.action = f"answered with {reply.status}{f' to {where}' if where else ''}"
        return result
    _explain_backend(config.backend(route.backend), traffic, env, result)
    return result


def _filter(plugin: PluginSpec, traffic: Traffic) -> str:
    """Its name, and its conditions with whether they hold."""
    if not plugin.conditions:
        return plugin.name
    conditions = Conditions(plugin.conditions)
    words = f"{plugin.name} if {' '.join(one.text for one in conditions.conditions)}"
    if any(VERBS[verb].late for verb, _, _ in plugin.conditions):
        return words
    try:
        return words if conditions.hold(traffic) else f"{words} (not here)"
    except ProxyError:
        return f"{words} (refused with 400: the path is ambiguous)"


def _behind_proxies(
    frontend: FrontendSpec, head: RequestHead, traffic: Traffic, result: Explanation
) -> None:
    """Whom a trusted proxy speaks for; what others say in X-Forwarded-For and the like is gone, as it will be."""
    peer = traffic.client_ip
    traffic.client_ip, traffic.scheme = Forwarder(frontend).client(peer, head, traffic.scheme)
    if traffic.client_ip != peer:
        result.admitted += f", a trusted proxy that speaks for {traffic.client_ip}"


def _explain_backend(spec: BackendSpec, traffic: Traffic, env: Env, result: Explanation) -> None:
    result.backend = spec.name
    result.balance = spec.balance.name
    result.filters += [_filter(plugin, traffic) for plugin in spec.filters]
    balancer = spec.balance.cls(spec.balance.options, env)
    group = ServerGroup(balancer, env.now)
    with group.changes():
        for server in spec.servers:
            state = ServerState(spec.name, server, weight=server.weight, maxconn=server.maxconn)
            state.addresses = server.target.sockets
            group.add(state)
    scores = {server: (score, meaning) for server, score, meaning in balancer.scores(traffic)}
    for state in group.servers.values():
        score, meaning = scores.get(state, (None, "backup" if state.spec.backup else "no weight"))
        result.candidates.append(
            Candidate(state.name, str(state.spec.target), "up (assumed)", score, meaning)
        )
    lease = group.pick(traffic)
    if lease is None:
        result.error = "no_server: 503" if spec.mode == "http" else "no_server: closed"
        return
    result.pick = lease.server.name
    _, meaning = scores.get(lease.server, (0.0, "a backup: no other server is up"))
    result.why = f"{spec.balance.name} on fresh counters: {meaning}"
