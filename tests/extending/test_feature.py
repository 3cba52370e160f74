"""A feature in one file: key, hook, counter, metric, operation; reloads and worker processes."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config, reference
from lbproxy.testing import LB
from tests.extending.conftest import Install
from tests.live.clients import ThreadServer, heads
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import until

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "bigresponses.py"
TEXT = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
servers = a 10.0.0.1:80
big_response = 1k
"""
BIG = b"x" * 2000


@pytest.fixture
def toy(install: Install) -> Path:
    return install("bigresponses", SOURCE.read_text(), "BigResponses")


def test_it_counts_and_survives_reloads(toy: Path) -> None:
    with LB.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:80", lambda request: BIG if request.path == "/big" else b"small")
        assert lb.get("http://h/big").header("X-Big") == "yes"
        assert lb.get("http://h/").header("X-Big") == ""
        counts = lb.backend("app").counts["big_response"]
        assert counts.big_responses == 1
        for text in (TEXT + "queue = 7\n", TEXT.replace("1k", "1500")):
            before = lb.backend("app").features["big_response"]
            assert lb.service.reload(text).ok
            assert (lb.backend("app").features["big_response"] is before) == ("1k" in text)
            lb.get("http://h/big")
        assert counts.big_responses == 3
        assert lb.service.reload(TEXT.replace("big_response = 1k", "")).ok
        assert not lb.service.frontend("web").policies.hooks["app"].response, (
            "switched off, it costs nothing"
        )


def test_its_key_is_a_key_like_any_other(toy: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"big_response: .*size"):
        parse_config(TEXT.replace("1k", "many"))
    assert "big_response" in reference() and "big_response = 1k" in dump(parse_config(TEXT))


@pytest.mark.live
def test_workers_add_up_and_operate(toy: Path) -> None:
    def serve(sock: Any) -> None:
        for _ in heads(sock):
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG)
            sock.sendall(head + BIG)

    port, admin = free_ports(2)
    server = ThreadServer(serve)
    text = TEXT.replace("tcp:80", f"tcp:{port}:interface=127.0.0.1")
    text = text.replace("10.0.0.1:80", server.address)
    settings = f"[lbproxy]\nworkers = 2\nadmin = tcp:{admin}:interface=127.0.0.1\n"
    process = LBProcess(settings + text, toy, ports=(port, admin))
    try:
        api = f"http://127.0.0.1:{admin}"
        for _ in range(20):
            assert get(f"http://127.0.0.1:{port}/").headers["X-Big"] == "yes"
        wanted = b'lbproxy_backend_big_responses_total{backend="app"} 20'
        assert until(lambda: wanted in get(f"{api}/metrics").read())
        process.rewrite(settings + text + "queue = 7\n")
        assert b'"ok":true' in change("POST", f"{api}/api/v1/reload")
        get(f"http://127.0.0.1:{port}/")
        assert until(lambda: wanted.replace(b"20", b"21") in get(f"{api}/metrics").read())
        assert b"forgotten" in change("DELETE", f"{api}/api/v1/backends/app/big_response")
    finally:
        process.stop()


def get(url: str) -> Any:
    """The response to one GET."""
    return urllib.request.urlopen(url, timeout=60)


def change(method: str, url: str) -> bytes:
    """The answer of the API to a change."""
    request = urllib.request.Request(url, method=method, headers={"X-Requested-With": "test"})
    return bytes(urllib.request.urlopen(request, timeout=60).read())
