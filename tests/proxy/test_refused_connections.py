"""Refused connections have a record in the access log, with the words of docs/logging.rst."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.observe.accesslog import compile_format
from lbproxy.testing import LoadBalancerFixture
from tests.proxy.logkit import follow

TEXT = """\
[frontend web]
mode = {mode}
listen = tcp:8080{options}
timeout_handshake = 5s
{lines}
backend = app
[backend app]
mode = {mode}
servers = a 10.0.0.1:80
"""


def text(mode: str, lines: str = "", options: str = "") -> str:
    """A configuration."""
    return TEXT.format(mode=mode, lines=lines, options=options)


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_a_denied_address(mode: str) -> None:
    with LoadBalancerFixture.from_config(text(mode, "deny = 0.0.0.0/0")) as lb:
        log = follow(lb)
        client = lb.connect("127.0.0.1:8080")
        assert client.finished
        (record,) = log
    _check(record, mode, "denied")
    assert "is not allowed" in record["detail"]
    assert record["peer_ip"] and record["listener"] == "tcp:8080"


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_a_connection_limit(mode: str) -> None:
    with LoadBalancerFixture.from_config(text(mode, "maxconn = 1")) as lb:
        log = follow(lb)
        lb.connect("127.0.0.1:8080")
        lb.connect("127.0.0.1:8080")
        _check(log[0], mode, "limited")


@pytest.mark.parametrize("mode", ["http", "tcp"])
@pytest.mark.parametrize(
    ("data", "wait", "close"), [(b"GET / \r\n", 0, "bad_preamble"), (b"PROXY ", 6, "bad_preamble")]
)
def test_a_bad_proxy_header(mode: str, data: bytes, wait: float, close: str) -> None:
    options = " accept_proxy=0.0.0.0/0"
    with LoadBalancerFixture.from_config(text(mode, options=options)) as lb:
        log = follow(lb)
        lb.connect("127.0.0.1:8080").send(data)
        lb.advance(wait)
        (record,) = log
    _check(record, mode, close)
    assert record["total_ms"] == pytest.approx(5000 if wait else 0, abs=1100 if wait else 100)


@pytest.mark.parametrize(("mode", "records"), [("http", 0), ("tcp", 1)])
def test_a_client_that_leaves_before_the_header(mode: str, records: int) -> None:
    options = " accept_proxy=0.0.0.0/0"
    with LoadBalancerFixture.from_config(text(mode, options=options)) as lb:
        log = follow(lb)
        lb.connect("127.0.0.1:8080").close()
        assert [record["close"] for record in log] == ["client_gone"] * records


def test_text_formats_have_a_line_too() -> None:
    line = compile_format("combined", "http")
    lines: list[bytes] = []
    with LoadBalancerFixture.from_config(text("http", "deny = 0.0.0.0/0")) as lb:
        frontend: Any = lb.service.frontends["web"]
        frontend.followers = (lambda record: lines.append(line(record)),)
        lb.connect("127.0.0.1:8080")
    assert b'"-" 0 0 "-" "-"' in lines[0]


def _check(record: dict[str, Any], mode: str, close: str) -> None:
    assert (record["mode"], record["frontend"], record["close"]) == (mode, "web", close)
    if mode == "http":
        empty = [record[name] for name in ("method", "target", "host", "version")]
        assert (empty, record["status"], record["header_ms"]) == ([""] * 4, 0, None)
