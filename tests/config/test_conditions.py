"""``filters`` with ``if`` and the words of routes."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.config.dump import as_json, dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config
from lbproxy.testing import LoadBalancerFixture

TEXT = """\
[frontend web]
listen = tcp:8080
filters =
    {filter}
backend = app

[backend app]
servers = a 10.0.0.1:80
"""


def load(line: str) -> Any:
    return parse_config(TEXT.replace("{filter}", line))


@pytest.mark.parametrize(
    ("line", "conditions"),
    [
        ("set-header request X-A 1 if path /api/*", [("path", ("/api/*",), False)]),
        ("reply 403 no if not client 10.0.0.0/8 method GET POST",
         [("client", ("10.0.0.0/8",), True), ("method", ("GET", "POST"), False)]),
        ("set-header response X-A 1 if status 404 5xx host a.b",
         [("status", ("404", "5xx"), False), ("host", ("a.b",), False)]),
        ("set-header response X-A if", []),
        ('set-header response X-A "if" if time mon-fri', [("time", ("mon-fri",), False)]),
        ("rewrite /a/* /* if header host x", [("header", ("host", "x"), False)]),
    ],
)  # fmt: skip
def test_read_and_written_back(line: str, conditions: Any) -> None:
    config = load(line)
    (spec,) = config.frontends[0].filters
    assert list(spec.conditions) == conditions
    assert parse_config(dump(config)) == config


def test_it_is_shown_without_secrets() -> None:
    config = load('set-header request X-A 1 if header Authorization "Bearer abcdef"')
    (shown,) = as_json(config, mask=True)["frontends"]["web"]["filters"]
    assert shown["if"] == "header Authorization ***"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("set-header request X-A 1 if path api", "must begin with '/'"),
        ("set-header request X-A 1 if not", "takes no more words|no condition follows 'not'|"
            "unexpected word 'if'"),
        ("set-header request X-A 1 if path /a hots x", "path 'hots' must begin"),
        ("set-header request X-A 1 if status 404",
            "works on requests, when 'status' is not known yet"),
        ("set-header request X-A 1 if paht /x", "(unexpected word|unknown option) 'if'"),
    ],
)  # fmt: skip
def test_what_is_wrong(line: str, message: str) -> None:
    with pytest.raises(ConfigErrors, match=message):
        load(line)


def test_a_backend_that_is_tcp_has_no_paths() -> None:
    text = TEXT.replace("filters =\n    {filter}\n", "mode = tcp\n")
    text = text.replace("servers", "filters = file.py:X if path /x\nservers")
    text = text.replace("file.py:X", "tests.config.test_conditions:Both")
    with pytest.raises(ConfigErrors, match="'path' needs mode = http"):
        parse_config(text)


class Both:
    """A filter of both modes."""

    modes = frozenset({"http", "tcp"})

    def __init__(self, options: Any, env: Any) -> None:
        pass

    def early(self, traffic: Any) -> None:
        """Nothing."""


def test_in_a_running_proxy() -> None:
    lines = (
        "reply 403 no if path /staff/* not header X-Key\n"
        "    set-header response X-Old 1 if path /old/*"
    )
    with LoadBalancerFixture.from_config(TEXT.replace("{filter}", lines)) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert lb.get("http://10.0.0.9:8080/staff/x").status == 403
        assert lb.get("http://10.0.0.9:8080/staff/x", headers=[("X-Key", "k")]).status == 200
        old = lb.get("http://10.0.0.9:8080/old/x")
        assert old.header("X-Old") == "1"
        assert lb.get("http://10.0.0.9:8080/new/x").header("X-Old") == ""
        assert lb.get("http://10.0.0.9:8080/a%2f..%2f..;/").status == 400
