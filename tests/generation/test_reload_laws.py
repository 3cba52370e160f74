"""A reload from any configuration to any other gives the load balancer that a start with the other
one gives.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbproxy.config.diff import listener_key
from lbproxy.config.dump import dump
from lbproxy.decide.explain import explain_http
from lbproxy.registry import parse_config
from lbproxy.service import LoadBalancer
from lbproxy.testing import MemoryReactor
from lbproxy.testing.client import open_client
from lbproxy.testing.wire import render

SERVERS = st.lists(
    st.builds(
        "    {} 10.0.0.{}:80{}".format,
        st.sampled_from("abcd"),
        st.integers(1, 3),
        st.sampled_from(
            ["", " weight=0", " weight=3", " maxconn=1", " backup", " no_check", " send_proxy=v1"]
        ),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda line: line.split()[0],
).map("\n".join)
KEYS = st.lists(
    st.sampled_from(
        [
            "balance = leastconn",
            "balance = first",
            "balance = hash source",
            "check = tcp every=3s",
            "check = tcp every=4s",
            "retries = 5",
            "queue = 7",
            "timeout_queue = 9s",
            "timeout_server = 12s",
            "resolve_every = 9s",
            "on_down = close",
        ]
    ),
    max_size=4,
    unique_by=lambda line: line.split()[0],
).map("\n".join)
LISTEN = st.lists(
    st.sampled_from(["tcp:8080", "tcp:8081 backlog=9", "tcp:8082 accept_proxy=10.0.0.0/8"]),
    min_size=1,
    max_size=2,
    unique=True,
)


@st.composite
def texts(draw: Any) -> str:
    """A whole configuration with one to three frontends and backends, some of either mode."""
    parts = []
    taken: set[str] = set()
    modes: dict[str, str] = {}
    for name in draw(st.lists(st.sampled_from(["one", "two"]), min_size=1, unique=True)):
        mode = draw(st.sampled_from(["http", "tcp"]))
        modes[name] = mode
        keys = draw(KEYS)
        servers = draw(SERVERS)
        if all("no_check" in line for line in servers.splitlines()):
            keys = "\n".join(line for line in keys.splitlines() if not line.startswith("check"))
        extra = draw(
            st.sampled_from(["", "pool_size = 3\n", "filters = add-header request X-A b\n"])
        )
        extra = extra if mode == "http" else ""
        parts.append(f"[backend {name}]\nmode = {mode}\n{keys}\n{extra}servers =\n{servers}\n")
    frontends = st.lists(st.sampled_from(["web", "raw", "api"]), min_size=1, unique=True)
    for name in draw(frontends):
        lines = [line for line in draw(LISTEN) if line.split()[0] not in taken]
        if not lines:
            continue
        taken |= {line.split()[0] for line in lines}
        backend = draw(st.sampled_from(sorted(modes)))
        mode = modes[backend]
        keys = draw(st.sampled_from(["", "maxconn = 9\n", "deny = 192.0.2.0/24\n"]))
        if mode == "http":
            keys += draw(
                st.sampled_from(["", "routes = path /x -> reply 204\n", "max_url = 100\n"])
            )
            keys += draw(st.sampled_from(["", "filters = set-header response X-F yes\n"]))
        listen = "".join(f"    {line}\n" for line in lines)
        head = f"[frontend {name}]\nmode = {mode}\nlisten =\n{listen}"
        parts.append(f"{head}backend = {backend}\n{keys}")
    return "[lbproxy]\n" + draw(st.sampled_from(["", "maxconn = 50\n"])) + "\n".join(parts)


def shape(service: LoadBalancer) -> dict[str, Any]:
    """All that traffic meets, without identities, counts and the time."""
    return {
        "config": dump(service.config),
        "total": service.total.maxconn,
        "listeners": [
            (
                listener_key(one.spec),
                one.spec,
                one.owner.name,
                str(one.address),
                type(one.factory).__name__,
                one.factory.frontend.lineage.current is service.frontends[one.owner.name],
                one.frontend is service.frontends[one.owner.name],
                one.factory._trusted is None,
            )
            for one in service.listeners
        ],
        "frontends": {
            name: (
                one.spec,
                one.stopping,
                one.looks_at_hello,
                (one.limits.maxconn, one.limits.maxconn_per_ip, one.limits.total is service.total),
                [type(f).__name__ for f in one.filters],
                {
                    key: [len(part) for part in _parts(hooks)]
                    for key, hooks in one.policies.hooks.items()
                },
                {key: one.backends[key] is service.backends[key] for key in one.backends},
                one.lineage.current is one,
            )
            for name, one in service.frontends.items()
        },
        "backends": {name: _backend(service, name) for name in service.backends},
        "running": sorted(type(one).__name__ for one in service.services if one.running),
    }


def _parts(hooks: Any) -> Any:
    return hooks.request, hooks.server_request, hooks.response, hooks.finish


def _backend(service: LoadBalancer, name: str) -> Any:
    one, checker = service.backends[name], service.generation.checkers.get(name)
    group = one.group
    return (
        one.spec,
        (one.queue.limit, one.queue.timeout, one.terms.timeout_server, one.host_header),
        (type(group.balancer).__name__, group.balancer.options),
        [
            (s.name, s.spec, s.weight, s.maxconn, s.state, s.listed, s.addresses, s.active)
            for s in group.servers.values()
        ],
        [s.name for s in group.listed],
        [s.name for s in group.balancer.servers],
        group.free,
        sorted((s.name, s.connector.pool.limit) for s in group.servers.values()),
        [s.name for s in group.servers.values() if s.connector.closed],
        checker and (checker.spec, sorted(s.name for s in checker.checks)),
        service.generation.resolvers[name]._every,
    )


def start(text: str) -> tuple[MemoryReactor, LoadBalancer]:
    reactor = MemoryReactor()
    service = LoadBalancer.from_config(text, reactor=reactor)
    service.startService()
    return reactor, service


def answers(reactor: MemoryReactor, service: LoadBalancer) -> list[Any]:
    """What each port says; there are no origins, so it is what lbproxy itself says."""
    said = []
    for listener in service.listeners:
        assert listener.address is not None
        client = open_client(reactor, "127.0.0.1", listener.address.port, client_ip="203.0.113.5")
        request = render("GET /x HTTP/1.1", [("Host", "h")], b"")
        client.send(request)
        reactor.advance(30)
        said.append((client.established, client.received.partition(b"\r\n")[0]))
        client.abort()
    return said


def stop(reactor: MemoryReactor, service: LoadBalancer) -> None:
    service.stopService()
    reactor.advance(60)
    assert not reactor.ports
    assert not reactor.getDelayedCalls()


reloads = given(st.lists(texts(), min_size=2, max_size=4))


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@reloads
def test_reload_is_as_good_as_a_restart(steps: list[str]) -> None:
    reactor, service = start(steps[0])
    for text in steps[1:]:
        before = shape(service)
        preview = service.reload(text, dry_run=True)
        assert preview.ok and shape(service) == before
        report = service.reload(text)
        assert report.ok, report.errors
        assert report.changes is not None and preview.changes == report.changes
        assert not service.reload(text).changes
        reactor.pump()
    fresh_reactor, fresh = start(steps[-1])
    assert shape(service) == shape(fresh)
    reactor.advance(40)
    fresh_reactor.advance(40)
    assert answers(reactor, service) == answers(fresh_reactor, fresh)
    assert shape(service)["backends"].keys() == shape(fresh)["backends"].keys()
    stop(reactor, service)
    stop(fresh_reactor, fresh)


@pytest.mark.long
@settings(max_examples=120, suppress_health_check=list(HealthCheck), deadline=None)
@reloads
def test_many_reloads_are_as_good_as_restarts(steps: list[str]) -> None:
    test_reload_is_as_good_as_a_restart.hypothesis.inner_test(steps)


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(texts(), texts())
def test_what_explain_says_holds_after_a_reload(old: str, new: str) -> None:
    reactor, service = start(old)
    service.reload(new)
    told = explain_http(service.config, "GET", "http://h:8080/x", [], "192.0.2.9")
    assert told == explain_http(parse_config(new), "GET", "http://h:8080/x", [], "192.0.2.9")
    stop(reactor, service)
