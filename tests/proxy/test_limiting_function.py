"""``key_function``: a Python function returns the key of a limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.decide.explain import explain_http
from lbproxy.proxy.features.limiting.feature import Limiting
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from tests.proxy.test_limiting import BACKEND, ask, statuses, web

CODE = """
def tenant(traffic):
    return (traffic.request.header(b"Host") or b"").partition(b".")[0].lower()

def client(traffic):
    return traffic.client_ip

def nobody(traffic):
    return None

def wrong(traffic):
    return 5

def lone(traffic):
    return "\\udcff " + traffic.request.path.decode()

def failing(traffic):
    raise RuntimeError("no")

async def later(traffic):
    return "x"
"""
LIMIT = "[limit one]\nrate = 1/1m\nkey_function = keys.py:{}\n{}"


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.py").write_text(CODE)
    return tmp_path / "keys.py"


def answers(lb: Any, *hosts: str) -> list[int]:
    found = []
    for host in hosts:
        client = lb.connect("web")
        client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        found.append(client)
    return statuses(found)


def test_the_result_is_the_key_and_a_changed_file_is_another_function(keys: Path) -> None:
    text = web(LIMIT.format("tenant", ""))
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert answers(lb, "a.x", "A.y", "b.x") == [200, 429, 200]
        keys.write_text(CODE.replace(".lower()", ".lower() + b'2'"))
        assert lb.service.reload(text).ok
        assert answers(lb, "a.x", "a.x") == [200, 429]


@pytest.mark.parametrize(
    ("name", "more", "found"),
    [
        ("nobody", "", [200, 200]),
        ("nobody", "empty = limit", [200, 429]),
        ("wrong", "", [200, 200]),
        ("wrong", "on_error = closed", [503, 503]),
        ("failing", "", [200, 200]),
        ("failing", "on_error = closed", [503, 503]),
    ],
)
def test_no_key_and_no_result(name: str, more: str, found: list[int]) -> None:
    with LB.from_config(web(LIMIT.format(name, more))) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert statuses([ask(lb), ask(lb)]) == found


def test_a_key_that_utf8_does_not_have_can_be_shown() -> None:
    with LB.from_config(web(LIMIT.format("lone", ""))) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert answers(lb, "x", "x") == [200, 429]
        feature = Limiting.of(lb.service.frontend("web"))
        assert feature is not None
        (shown,) = feature.gauges()["one"]["refused_keys"]
        assert shown == "? /"


def test_sessions_have_keys_too() -> None:
    text = f"{LIMIT.format('client', '')}\n[frontend db]\nmode = tcp\nlisten = tcp:5432\n"
    backend = BACKEND.replace("servers", "mode = tcp\nservers")
    with LB.from_config(f"{text}limits = one\nbackend = app\n{backend}") as lb:
        lb.origin("a", "10.0.0.1:80")
        assert [lb.connect("db").closed for _ in range(2)] == [False, True]


def test_it_is_dumped_and_explained() -> None:
    config = parse_config(web(LIMIT.format("tenant", "")))
    assert "key_function = keys.py:tenant" in dump(config)
    said = explain_http(config, "GET", "http://h/", []).as_text()
    assert "for each result of keys.py:tenant" in said


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("later", "", "write 'def'"),
        ("missing", "", "there is no 'missing'"),
        ("tenant", "key = {host}", "either 'key' or 'key_function'"),
        ("tenant", "unit = connections", "a connection has no request"),
    ],
)
def test_what_is_wrong(name: str, more: str, said: str) -> None:
    with pytest.raises(ConfigErrors, match=said):
        parse_config(web(LIMIT.format(name, more)))
