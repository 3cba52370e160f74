"""``servers = none``: a backend that is filled at run time."""

from __future__ import annotations

import pytest

from lbproxy.config.dump import as_json, dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import known, parse_config
from lbproxy.testing import LoadBalancerFixture

TEXT = """\
[frontend web]
listen = tcp:8080
backend = app

[backend app]
servers = none
"""


def test_it_is_kept_by_a_dump() -> None:
    config = parse_config(TEXT, "lb.ini", ".")
    assert config.backends[0].servers == ()
    assert parse_config(dump(config), "lb.ini", ".") == config
    assert as_json(config)["backends"]["app"]["servers"] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("servers =\n", "has no lines; write none if that is intended"),
        ("", "if they are added at run time, write servers = none"),
        ("servers =\n    none\n    a 10.0.0.1:80\n", "address is missing"),
    ],
)
def test_it_must_be_meant(line: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as found:
        parse_config(TEXT.replace("servers = none\n", line), "lb.ini", ".")
    (error,) = found.value.errors
    assert words in str(error)


def test_a_server_may_be_called_none() -> None:
    config = parse_config(TEXT.replace("= none", "= none 10.0.0.1:80"), "lb.ini", ".")
    assert [server.name for server in config.backends[0].servers] == ["none"]


def balancers() -> list[str]:
    options = {"hash": "hash source"}
    return [options.get(name, name) for name in known("balancer")]


@pytest.mark.parametrize("balancer", balancers())
def test_servers_come_and_go_at_run_time(balancer: str) -> None:
    text = f"{TEXT}balance = {balancer}\nqueue = 0\n"
    with LoadBalancerFixture.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert lb.get("http://www.example.com:8080/").status == 503
        lb.service.add_server("app", "a 10.0.0.1:80")
        assert lb.get("http://www.example.com:8080/").status == 200
        report = lb.service.reload(text + "timeout_connect = 3s\n")
        assert report.ok, report.summary()
        assert lb.get("http://www.example.com:8080/").status == 200
        lb.service.remove_server("app", "a")
        assert lb.get("http://www.example.com:8080/").status == 503
