"""``disabled`` on a server line: it starts in maint, and operators bring it to work."""

from __future__ import annotations

from pathlib import Path

from lbproxy.decide.explain import explain_http
from lbproxy.registry import parse_config
from lbproxy.testing import LoadBalancerFixture

TEXT = """\
[frontend web]
listen = tcp:8080
backend = app

[backend app]
check = tcp
servers =
    a 10.0.0.1:8000
    b 10.0.0.2:8000 disabled
"""


def states(lb: LoadBalancerFixture) -> dict[str, str]:
    group = lb.service.backends["app"].group
    return {name: server.state.value for name, server in group.servers.items()}


def test_it_gets_neither_traffic_nor_checks_until_it_is_ready() -> None:
    with LoadBalancerFixture.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:8000")
        lb.origin("b", "10.0.0.2:8000")
        lb.advance(5)
        assert states(lb) == {"a": "up", "b": "maint"}
        server = lb.service.backends["app"].group.servers["b"]
        assert server.counters.probes_ok == server.counters.probes_failed == 0
        assert {lb.get("http://x:8080/").header("X-Origin") for _ in range(6)} == {"a"}
        assert lb.service.changing.drift() == []
        lb.service.ready("app", "b")
        lb.advance(5)
        assert {lb.get("http://x:8080/").header("X-Origin") for _ in range(6)} == {"a", "b"}
        assert [one.text for one in lb.service.changing.drift()] == ["app/b maint -> ready"]
        lb.service.changing.reset("app", "b")
        assert states(lb) == {"a": "up", "b": "maint"} and lb.service.changing.drift() == []


def test_a_reload_changes_it_and_keeps_what_operators_did() -> None:
    with LoadBalancerFixture.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:8000")
        lb.origin("b", "10.0.0.2:8000")
        other = TEXT.replace("a 10.0.0.1:8000", "a 10.0.0.1:8000 disabled").replace(
            ":8000 disabled\n    b 10.0.0.2:8000 disabled", ":8000 disabled\n    b 10.0.0.2:8000"
        )
        lb.service.reload(parse_config(other))
        lb.advance(5)
        assert states(lb) == {"a": "maint", "b": "up"}
        lb.service.maint("app", "b")
        lb.service.reload(parse_config(other + "retries = 1\n"))
        assert states(lb) == {"a": "maint", "b": "maint"}
        assert [one.text for one in lb.service.changing.drift()] == ["app/b ready -> maint"]


def test_explain_does_not_pick_it(tmp_path: Path) -> None:
    text = TEXT.replace("a 10.0.0.1:8000", "a 10.0.0.1:8000 weight=0")
    found = explain_http(parse_config(text), "GET", "http://x:8080/", [])
    assert [one.state for one in found.candidates] == ["up (assumed)", "maint"]
    assert found.error.startswith("no_server")
