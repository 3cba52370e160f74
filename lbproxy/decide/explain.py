"""CONTROL. The path of a request or a connection without any traffic: ``lbproxy explain``."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from attrs import asdict, define, field

from lbproxy.cache.givenurl import target_of
from lbproxy.config.model import Config, FrontendSpec, ListenSpec, PluginSpec
from lbproxy.decide.path import (
    DryBackend,
    DryFrontend,
    DryTraffic,
    PathVerdict,
    connected,
    dry_geo,
    dry_lists,
)
from lbproxy.decide.protection import protections
from lbproxy.decide.routelimits import limit_lines
from lbproxy.errors import ProxyError
from lbproxy.http.asciihost import ascii_host
from lbproxy.http.condition import VERBS
from lbproxy.http.conditional import Conditions
from lbproxy.http.message import Headers, Invalid, RequestHead
from lbproxy.model.secrets import mask_text
from lbproxy.proxy.features.caching.spec import CacheSpec
from lbproxy.proxy.features.waf.spec import WafSpec

__all__ = ["Explanation", "explain_http", "explain_tcp"]


@define
class RouteStep:
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
    protections: list[str] = field(factory=list)
    routes: list[RouteStep] = field(factory=list)
    backend: str = ""
    limits: list[str] = field(factory=list)
    cache: list[str] = field(factory=list)
    action: str = ""
    calls: list[str] = field(factory=list)
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
        lines += [f"protection {one}" for one in self.protections]
        for step in self.routes:
            lines.append(
                f"{'route  ->' if step.taken else 'route    '}  {step.route}  [{step.why}]"
            )
        if self.action:
            lines.append(f"action     {self.action}")
        lines += [f"call       {one}" for one in self.calls]
        if self.backend:
            lines.append(f"backend    {self.backend}, balance {self.balance}")
        lines += [f"limit      {line}" for line in self.limits]
        lines += [f"cache      {line}" for line in self.cache]
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


def explain_http(
    config: Config, method: str, url: str, headers: Headers, client_ip: str = "192.0.2.1"
) -> Explanation:
    """Decisions for ``method url``; ``url`` is absolute.

    ValueError when it is not http or https.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an absolute http:// or https:// URL")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = _listener(config, "http", port, tls=parts.scheme == "https")
    frontend = DryFrontend(found[0] if found is not None else FrontendSpec(name=""))
    head = _head(method, url, headers, frontend)
    if isinstance(head, Invalid):
        return Explanation(error=f"{head.status}: {head.detail}")
    head.scheme = parts.scheme.encode("ascii")
    sni = ascii_host(parts.hostname).lower() if parts.scheme == "https" else ""
    traffic = DryTraffic(head, client_ip, sni=sni, scheme=parts.scheme, info=connected(port))
    return _explain(config, found, traffic, f"no http frontend listens on port {port}")


def _head(method: str, url: str, headers: Headers, frontend: DryFrontend) -> RequestHead | Invalid:
    """The request as the codec reads it, with a client's usual Host; or what it would be refused
    with.
    """
    parts = urlsplit(url)
    target = target_of(url.strip())
    host = parts.netloc.rpartition("@")[2]
    method = method.upper()
    if method == "CONNECT":
        target = f"{parts.hostname}:{parts.port or 443}"
    name, mark, port = host.rpartition(":") if parts.port is not None else (host, "", "")
    authority = f"{ascii_host(name)}{mark}{port}".encode("ascii")
    try:
        lines = [f"{method} {target} HTTP/1.1".encode("ascii")]
    except UnicodeError:
        raise ValueError(
            "method and URL are ASCII on the wire: write other characters of the URL as %XX"
        ) from None
    if not any(name.lower() == b"host" for name, _ in headers):
        lines.append(b"Host: " + authority)
    lines += [name + b": " + value for name, value in headers]
    head = frontend.parse(lines)
    if head is None:
        raise ValueError("this is no request")
    return head


def explain_tcp(
    config: Config,
    port: int,
    sni: str = "",
    alpn: tuple[str, ...] = (),
    client_ip: str = "192.0.2.1",
) -> Explanation:
    """Decisions for a TCP connection to ``port``."""
    traffic = DryTraffic(
        None, client_ip, sni=sni.lower(), alpn=alpn, scheme="tcp", info=connected(port)
    )
    found = _listener(config, "tcp", port, tls=None)
    return _explain(config, found, traffic, f"no tcp frontend listens on port {port}")


def _listener(
    config: Config, mode: str, port: int, tls: bool | None
) -> tuple[FrontendSpec, ListenSpec, str] | None:
    """The listener a client would reach, or the nearest thing to it, and what had to be assumed."""
    every = [(f, one) for f in config.frontends if f.protocol == mode for one in f.listen]
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
    traffic: DryTraffic,
    nothing: str,
) -> Explanation:
    result = Explanation()
    if found is None:
        known = sorted({str(one.endpoint) for f in config.frontends for one in f.listen})
        result.error = f"{nothing}; listeners: {', '.join(known) or 'none'}"
        return result
    spec, listen, assumed = found
    frontend = DryFrontend(spec, dry_lists(config), dry_geo(config))
    result.listener = listen.endpoint + assumed
    result.frontend, result.mode = spec.name, spec.protocol
    peer = traffic.client_ip
    if not frontend.admits(peer):
        result.admitted = f"{peer} is refused"
        keys = "allow/deny" if frontend.admits_peer(peer) else "allow_peers/deny_peers"
        result.error = f"denied: {keys} of the frontend"
        return result
    result.admitted = f"{peer} is admitted"
    if frontend.find_client(traffic):
        result.admitted += f", a trusted proxy that speaks for {traffic.client_ip}"
    if not frontend.admits_client(traffic.client_ip):
        result.error = f"denied: allow/deny of the frontend refuse {traffic.client_ip} with 403"
        return result
    verdict = frontend.decide(traffic)
    if verdict.asked:
        result.filters = [_filter(plugin, traffic) for plugin in spec.filters]
        result.protections = list(protections(config, spec, verdict.route, traffic))
        result.routes = [RouteStep(*line) for line in frontend.router.explain(traffic)]
    if verdict.ends == "no_route" and spec.mode == "corsproxy":
        from lbproxy.decide.corscalls import DryCalls

        result.calls, result.action, result.error = DryCalls(config, spec).explain(traffic)
    elif verdict.ends == "no_route":
        result.error = "no_route: 404" if spec.protocol == "http" else "no_route: closed"
    elif verdict.ends:
        result.error = f"{verdict.ends}: {verdict.detail}"
    elif verdict.reply is not None:
        where = f" to {mask_text(verdict.location)}" if verdict.location else ""
        result.action = f"answered with {verdict.reply.status}{where}"
    else:
        firewall = _firewall(config, spec, verdict, traffic)
        if firewall:
            result.filters.append(f"firewall: {firewall}")
        if firewall.startswith("block "):
            result.error = f"blocked: the firewall refuses it with 403 ({firewall[6:]})"
            return result
        backend = config.backend(verdict.backend)
        route = None if verdict.route is None else verdict.route.spec
        result.limits = limit_lines(route, spec, backend)
        result.cache = _cache(config, spec, verdict, traffic)
        _explain_backend(DryBackend(backend), traffic, result)
    return result


def _cache(
    config: Config, spec: FrontendSpec, verdict: PathVerdict, traffic: DryTraffic
) -> list[str]:
    """Return the key and the decisions of the cache of the route."""
    if not config.of(CacheSpec):
        return []
    from lbproxy.decide.caching import cache_lines, cache_name

    name = cache_name(spec, verdict.route, config.backend(verdict.backend))
    return cache_lines(config, name, traffic, verdict.backend)


def _firewall(config: Config, spec: FrontendSpec, verdict: PathVerdict, traffic: DryTraffic) -> str:
    """Return what the firewall of the route does, "" without one."""
    if not config.of(WafSpec):
        return ""
    from lbproxy.decide.firewall import DryFirewalls, waf_name

    return DryFirewalls(config).verdict(waf_name(spec, verdict.route), traffic)


def _filter(plugin: PluginSpec, traffic: DryTraffic) -> str:
    """Return the name of a filter, and its conditions with whether they hold."""
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


def _explain_backend(backend: DryBackend, traffic: DryTraffic, result: Explanation) -> None:
    spec = backend.spec
    result.backend = spec.name
    result.balance = spec.balance.name
    result.filters += [_filter(plugin, traffic) for plugin in spec.filters]
    scores = {s: (score, meaning) for s, score, meaning in backend.balancer.scores(traffic)}
    for state in backend.group.servers.values():
        score, meaning = scores.get(state, (None, "backup" if state.spec.backup else "no weight"))
        shown = "up (assumed)"
        if state.spec.disabled:
            shown, meaning = "maint", "disabled"
        result.candidates.append(
            Candidate(state.name, str(state.spec.target), shown, score, meaning)
        )
    lease = backend.pick(traffic)
    if lease is None:
        result.error = "no_server: 503" if spec.mode == "http" else "no_server: closed"
        return
    result.pick = lease.server.name
    _, meaning = scores.get(lease.server, (0.0, "a backup: no other server is up"))
    result.why = f"{spec.balance.name} on fresh counters: {meaning}"
