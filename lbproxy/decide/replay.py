"""CONTROL. Logged requests through two configurations, without any traffic: ``lbproxy replay``.

:func:`read_line` makes a :class:`Request` of a line of an access log, :class:`Decider` says what a configuration
does with one, :func:`replay` counts where two of them differ.  What is compared is what the log knows enough for:
refusals by address lists, request heads that are not taken, routes, their actions, backends, the filters on the way,
and of the balancer the servers it chooses from, or its pick where that depends on nothing but the request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from attrs import asdict, define, evolve, field, frozen

from lbproxy.balance.base import Need
from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import ServerState
from lbproxy.config.masking import masked
from lbproxy.config.model import BackendSpec, Config, FrontendSpec, ListenSpec
from lbproxy.config.value import value_lines
from lbproxy.decide.explain import Traffic, connected
from lbproxy.errors import Kind, Outcome, ProxyError
from lbproxy.guard.addresses import Access
from lbproxy.http.h1 import RequestParser
from lbproxy.http.message import Invalid, Limits, RequestHead
from lbproxy.http.route import Router
from lbproxy.interfaces import Env

__all__ = ["Decider", "Decision", "Request", "Result", "read_line", "replay", "unknown_inputs"]

EXAMPLES = 3
"""Examples that are kept of each difference."""

_CACHE = 200_000  # shapes that are remembered for each configuration

_COMBINED = re.compile(
    r'(?P<ip>\S+) \S+ \S+ \[[^\]]*\] "(?P<method>[!-~]+) (?P<target>\S+) [^"]*" (?P<status>\d{1,3}) \S+'
    r'(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?'
)
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")

_loads: Callable[[str], Any]
try:
    from orjson import loads as _loads
except ImportError:
    _loads = json.loads


@frozen
class Request:
    """One line of a log.  ``port``: that the client aimed at, 0 if the log does not say.  Empty is unknown.

    ``backend``: that the log says, for comparison; "" when it does not.
    """

    mode: str = "http"
    frontend: str = ""
    port: int = 0
    tls: bool = False
    method: str = ""
    host: str = ""
    target: str = ""
    peer_ip: str = ""
    client_ip: str = ""
    agent: str = ""
    referer: str = ""
    sni: str = ""
    alpn: str = ""
    backend: str = field(default="", eq=False)

    @property
    def text(self) -> str:
        """For people: printable, whatever the client has sent."""
        if self.mode == "tcp":
            text = f"TCP {self.port or self.frontend}{f' sni {self.sni}' if self.sni else ''}"
        else:
            text = f"{self.method} {self.host}{self.target}"
        return "".join(c if c.isprintable() else "?" for c in text[:200])


def read_line(line: str, host: str = "localhost", frontend: str = "") -> Request | None:
    """A line of our JSON log, or of the common or combined format; None when it is none, or was no request.

    ``host`` and ``frontend`` are for lines that do not tell them.
    """
    if line.startswith("{"):
        return _json_line(line, host, frontend)
    found = _COMBINED.match(line)
    if found is None:
        return None
    target, referer, agent = (
        _ESCAPE.sub(lambda one: chr(int(one[1], 16)), text or "")
        for text in found.group("target", "referer", "agent")
    )
    return Request(
        frontend=frontend, method=found["method"], host=host, target=target, peer_ip=found["ip"],
        client_ip=found["ip"], agent=_text(agent), referer=_text(referer),
    )  # fmt: skip


def _text(value: str) -> str:
    return "" if value == "-" else value


def _json_line(line: str, host: str, frontend: str) -> Request | None:
    try:
        facts = _loads(line)
        port = int(facts.get("local_port") or 0)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None

    def get(name: str, otherwise: str = "") -> str:
        return str(facts.get(name) or otherwise)

    mode = get("mode")
    if mode not in ("http", "tcp") or (mode == "http" and not facts.get("method")):
        return None
    return Request(
        mode=mode, frontend=get("frontend", frontend), port=port, tls=bool(get("tls_version")),
        method=get("method"), host=get("host", host), target=get("target"),
        peer_ip=get("peer_ip", get("client_ip")), client_ip=get("client_ip"),
        agent=get("user_agent"), referer=get("referer"), sni=get("sni"), alpn=get("alpn"),
        backend=get("backend"),
    )  # fmt: skip


@frozen
class Decision:
    """What a configuration does with a request.

    ``answer``: what lbproxy itself answers, or why the connection is closed; "" when a server answers.  ``server``: the
    pick, where it depends on the request alone; ``servers``: those it is made from, with the balancer.
    """

    frontend: str = ""
    answer: str = ""
    route: str = ""
    backend: str = ""
    server: str = ""
    servers: str = ""
    filters: str = ""

    def same(self, other: Decision) -> bool:
        """Nobody would notice a difference; another route to the same end is none."""
        return self == other or self == evolve(other, route=self.route)


@define
class _Backend:
    spec: BackendSpec
    group: ServerGroup
    needs: frozenset[Any]
    servers: str
    filters: tuple[str, ...]


@define
class _Front:
    spec: FrontendSpec
    access: Access
    router: Router
    limits: Limits
    filters: tuple[str, ...]


class Decider:
    """One configuration, ready to decide about many requests."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._fronts = {spec.name: self._front(spec) for spec in config.frontends}
        self._backends = {spec.name: self._backend(spec) for spec in config.backends}
        self._ports: dict[tuple[str, int], list[tuple[_Front, ListenSpec]]] = {}
        for front in self._fronts.values():
            for listen in front.spec.listen:
                if listen.address is not None and listen.address.port:
                    key = (front.spec.mode, listen.address.port)
                    self._ports.setdefault(key, []).append((front, listen))
        self._shape = _Shape(config, self._backends.values())
        self._known: dict[tuple[Any, ...], Decision] = {}

    @staticmethod
    def _env(name: str) -> Env:
        return Env(now=lambda: 0.0, random=Random(0), name=name)

    def _front(self, spec: FrontendSpec) -> _Front:
        return _Front(
            spec,
            Access(spec.allow, spec.deny),
            Router(spec.routes, spec.backend, env=self._env(spec.name)),
            Limits(spec.max_header_bytes, spec.max_headers, spec.max_url),
            tuple(value_lines("lines:filter", masked(spec.filters))),
        )

    def _backend(self, spec: BackendSpec) -> _Backend:
        balancer = spec.balance.cls(spec.balance.options, self._env(spec.name))
        group = ServerGroup(balancer, lambda: 0.0)
        with group.changes():
            for server in spec.servers:
                state = ServerState(spec.name, server, weight=server.weight, maxconn=server.maxconn)
                state.addresses = server.target.sockets
                group.add(state)
        lines = value_lines("line:balancer", spec.balance) + value_lines(
            "lines:server", spec.servers
        )
        filters = tuple(value_lines("lines:filter", masked(spec.filters)))
        return _Backend(spec, group, frozenset(balancer.needs), "; ".join(lines), filters)

    def decide(self, request: Request) -> Decision:
        """The decision; remembered for requests that differ in nothing the configuration looks at."""
        shape = self._shape.of(request)
        known = self._known.get(shape)
        if known is None:
            if len(self._known) >= _CACHE:
                self._known.clear()
            known = self._known[shape] = self._decide(request)
        return known

    def _find(self, request: Request) -> _Front | None:
        """By the port, else by the frontend's name, else the only one there is."""
        found = self._ports.get((request.mode, request.port)) if request.port else None
        if found:
            for front, listen in found:
                if listen.tls is request.tls and request.mode == "http":
                    return front
            return found[0][0]
        named = self._fronts.get(request.frontend)
        if named is not None and named.spec.mode == request.mode:
            return named
        same = [front for front in self._fronts.values() if front.spec.mode == request.mode]
        return same[0] if len(same) == 1 and not request.frontend else None

    def _decide(self, request: Request) -> Decision:
        front = self._find(request)
        if front is None:
            return Decision(answer="no listener")
        name = front.spec.name
        if not front.access.allows(request.peer_ip):
            return Decision(name, "denied")
        traffic = Traffic(
            None, request.client_ip, sni=request.sni, scheme="https" if request.tls else "http",
            alpn=(request.alpn,) if request.alpn else (), frontend_name=name, info=connected(request.port),
        )  # fmt: skip
        if request.mode == "http":
            head = _head(request, front.limits)
            if isinstance(head, Invalid):
                return Decision(name, f"{head.status} {head.detail}")
            if head.method == b"CONNECT" and front.spec.connect != "forward":
                return Decision(name, "405 CONNECT")
            traffic.request = head
        try:
            route = front.router.match(traffic)
        except ProxyError as error:
            return Decision(name, f"{error.status} {error.detail}")
        filters = front.filters
        if route is None:
            return Decision(
                name, "404 no route" if request.mode == "http" else "closed: no route",
                filters="; ".join(filters),
            )  # fmt: skip
        if route.action is not None:
            reply = route.action.reply(traffic)
            where = [v.decode("latin-1") for n, v in reply.headers if n.lower() == b"location"]
            return Decision(
                name, " ".join([str(reply.status), *where]), route.text, filters="; ".join(filters)
            )
        backend = self._backends[route.backend]
        return Decision(
            name, "", route.text, backend.spec.name, self._pick(backend, traffic), backend.servers,
            "; ".join(filters + backend.filters),
        )  # fmt: skip

    @staticmethod
    def _pick(backend: _Backend, traffic: Any) -> str:
        if not backend.needs:
            return ""
        lease = backend.group.pick(traffic)
        if lease is None:
            return ""
        name = lease.server.name
        lease.release(Outcome.NEUTRAL)
        return name


def _head(request: Request, limits: Limits) -> RequestHead | Invalid:
    lines = [f"{request.method} {request.target or '/'} HTTP/1.1", f"Host: {request.host}"]
    if request.agent:
        lines.append(f"User-Agent: {request.agent}")
    if request.referer:
        lines.append(f"Referer: {request.referer}")
    data = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
    events = RequestParser(limits).receive(data)
    first = events[0] if events else None
    if isinstance(first, RequestHead | Invalid):
        if isinstance(first, RequestHead):
            first.scheme = b"https" if request.tls else b"http"
        return first
    return Invalid(Kind.BAD_REQUEST, "this is no request")


class _Shape:
    """Which parts of a request a configuration looks at; the others need not be part of the key of a cache."""

    def __init__(self, config: Config, backends: Iterable[_Backend]) -> None:
        needs = {need for backend in backends for need in backend.needs}
        every = Need.REQUEST in needs
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
        self.target = bool(verbs & {"path", "query"}) or every or actions
        self.host = "host" in verbs or "host" in headers or every or actions
        self.sizes = sorted(f.max_url for f in config.frontends)

    def of(self, request: Request) -> tuple[Any, ...]:
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


@define
class Difference:
    """Requests that are decided differently in the same way.

    ``fields``: what differs, each with its value before and after.  ``examples``: (line number, text).
    """

    fields: dict[str, tuple[str, str]]
    count: int = 0
    examples: list[tuple[int, str]] = field(factory=list)


@define
class Result:
    """What came of it.  ``skipped``: lines that are no requests.  ``surprises``: requests of which the log has another
    backend than the old configuration decides on."""

    requests: int = 0
    changed: int = 0
    skipped: int = 0
    surprises: int = 0
    differences: list[Difference] = field(factory=list)
    unknown: list[str] = field(factory=list)

    def as_json(self) -> str:
        """For programs."""
        found = asdict(self)
        for one in found["differences"]:
            one["fields"] = {k: {"old": old, "new": new} for k, (old, new) in one["fields"].items()}
            one["examples"] = [{"line": line, "request": text} for line, text in one["examples"]]
        return json.dumps(found, indent=2)

    def as_text(self) -> str:
        """For people."""
        lines = [f"{self.requests:,} requests, {self.changed:,} are decided differently"]
        if self.skipped:
            lines[0] += f" ({self.skipped:,} lines are no requests)"
        for one in self.differences:
            share = 100 * one.count / self.requests
            lines.append(f"\n{one.count:,} ({share:.3g}%)")
            for name, (old, new) in one.fields.items():
                lines.append(f"  {name:<9}{old or '-'} -> {new or '-'}")
            lines += [f"  e.g. line {number}: {text}" for number, text in one.examples]
        if self.surprises:
            lines.append(
                f"\nnote: of {self.surprises:,} requests the log has another backend than the old configuration"
                " decides on"
            )
        if self.unknown:
            lines.append(f"\nnote: not in the log, so taken as absent: {', '.join(self.unknown)}")
        return "\n".join(lines)


def unknown_inputs(*configs: Config) -> list[str]:
    """What routes look at and a log does not have: headers, cookies and the time."""
    found: dict[str, None] = {}
    for config in configs:
        for frontend in config.frontends:
            for route in frontend.routes:
                for verb, args, _ in route.conditions:
                    if verb == "time":
                        found["the time (now is taken)"] = None
                    elif verb == "cookie":
                        found[f"cookie {args[0]}"] = None
                    elif verb == "header" and args[0].lower() not in (
                        "host",
                        "user-agent",
                        "referer",
                    ):
                        found[f"header {args[0]}"] = None
    return list(found)


def replay(
    lines: Iterable[str], old: Config, new: Config, *, host: str = "localhost", frontend: str = ""
) -> Result:
    """Decide about every line with both; ``differences`` come with the most frequent first."""
    before, after = Decider(old), Decider(new)
    result = Result(unknown=unknown_inputs(old, new))
    found: dict[tuple[Decision, Decision], Difference] = {}
    for number, request in _requests(lines, result, host, frontend):
        result.requests += 1
        one, two = before.decide(request), after.decide(request)
        if request.backend and one.backend != request.backend:
            result.surprises += 1
        if one == two:
            continue
        key = (one, two)
        difference = found.get(key)
        if difference is None:
            fields = {} if one.same(two) else _fields(one, two)
            difference = found[key] = Difference(fields)
        if not difference.fields:
            continue
        result.changed += 1
        difference.count += 1
        if len(difference.examples) < EXAMPLES:
            difference.examples.append((number, request.text))
    result.differences = _grouped(one for one in found.values() if one.fields)
    return result


def _requests(
    lines: Iterable[str], result: Result, host: str, frontend: str
) -> Iterator[tuple[int, Request]]:
    for number, line in enumerate(lines, 1):
        request = read_line(line, host, frontend)
        if request is not None:
            yield number, request
        elif line.strip():
            result.skipped += 1


def _fields(old: Decision, new: Decision) -> dict[str, tuple[str, str]]:
    """What differs; consequences of another backend are left out."""
    fields = {
        name: (before, after)
        for (name, before), after in zip(asdict(old).items(), asdict(new).values(), strict=True)
        if before != after
    }
    if "backend" in fields or "answer" in fields:
        for name in ("server", "servers"):
            fields.pop(name, None)
    if "servers" in fields and "server" in fields:
        fields.pop("servers")
    return fields


def _grouped(found: Iterable[Difference]) -> list[Difference]:
    groups: dict[tuple[Any, ...], Difference] = {}
    for one in found:
        key = tuple(one.fields.items())
        group = groups.setdefault(key, Difference(one.fields))
        group.count += one.count
        group.examples = sorted([*group.examples, *one.examples])[:EXAMPLES]
    return sorted(groups.values(), key=lambda one: -one.count)
