"""A feature of routes: its key at routes and frontends, counts, reloads and worker processes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config, reference
from lbproxy.testing import LB
from lbproxy.workers.board import ADDRESSES, Board
from lbproxy.workers.shared import BoardShared
from tests.extending.conftest import Install
from tests.extending.test_feature import change, get
from tests.live.clients import ThreadServer, heads
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import until

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "busy.py"
TEXT = """
[frontend web]
listen = tcp:80
backend = app
busy = 2
routes =
    path /one/* -> app busy=1
    path /free -> app busy=0 priority=3
    path /gone -> reply 410 gone
[backend app]
servers = a 10.0.0.1:80
"""


@pytest.fixture
def toy(install: Install) -> Path:
    """The feature, installed."""
    return install("busy", SOURCE.read_text(), "Busy")


def ask(lb: Any, path: str) -> Any:
    """A client that has asked for ``path``."""
    client = lb.connect("web")
    client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    return client


def refused(clients: list[Any]) -> int:
    return sum(client.received.startswith(b"HTTP/1.1 503") for client in clients)


def test_a_route_has_its_own_value_or_that_of_the_frontend(toy: Path) -> None:
    with LB.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:80").hang()
        assert refused([ask(lb, "/one/x") for _ in range(3)]) == 2
        assert refused([ask(lb, "/") for _ in range(3)]) == 1, "a count of its own"
        assert refused([ask(lb, "/free") for _ in range(5)]) == 0, "switched off here"
        assert ask(lb, "/gone").received.startswith(b"HTTP/1.1 410")
        routes = lb.service.routes
        assert [one for one in routes if "busy" in routes[one].features] == [
            "web: path /one/*",
            "web: default",
        ]


def test_reloads_keep_counts_and_objects(toy: Path) -> None:
    with LB.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:80").hang()
        first = [ask(lb, "/one/x") for _ in range(2)]
        before = lb.service.routes["web: path /one/*"]
        text = TEXT.replace("busy=1", "busy=2").replace(
            "    path /free", "    path /x -> app\n    path /free"
        )
        assert lb.service.reload(text).ok
        after = lb.service.routes["web: path /one/*"]
        assert after is not before and after.features["busy"] is before.features["busy"]
        assert refused([ask(lb, "/one/x") for _ in range(2)]) == 1, "the one before counts"
        assert after.counts["busy"].busy_refused == 2
        for client in first:
            client.abort()
        lb.advance(0.1)
        assert after.features["busy"].held == 1
        assert lb.service.reload(text).ok and lb.service.routes["web: path /one/*"] is after
        assert lb.service.reload(TEXT.replace(" busy=1", " busy=0")).ok
        assert not lb.service.routes["web: path /one/*"].features


def test_a_filter_that_chooses_another_backend_stays_on_the_route(
    toy: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.py").write_text(
        "from lbproxy.http.filter import Filter\n"
        "class Other(Filter):\n"
        "    def request(self, traffic):\n"
        "        traffic.backend_name = 'other'\n"
    )
    text = TEXT.replace("busy = 2\n", f"filters = {tmp_path}/other.py:Other\n")
    text += "[backend other]\nmode = http\nservers = b 10.0.0.2:80\n"
    with LB.from_config(text) as lb:
        origin = lb.origin("b", "10.0.0.2:80")
        origin.hang()
        clients = [ask(lb, "/one/x") for _ in range(2)]
        assert refused(clients) == 1 and len(origin.requests) == 1
        clients[0].abort()
        lb.advance(0.1)
        assert lb.service.routes["web: path /one/*"].features["busy"].held == 0


def test_its_key_is_a_key_and_an_option_like_any_other(toy: Path) -> None:
    config = parse_config(TEXT)
    assert parse_config(dump(config)) == config
    assert "path /free -> app priority=3 busy=0" in dump(config)
    assert "Default: that of the frontend" in reference()
    with pytest.raises(ConfigErrors, match=r"routes: busy.*whole number"):
        parse_config(TEXT.replace("busy=1", "busy=many"))
    with pytest.raises(ConfigErrors, match=r"unknown option 'bus'.*did you mean 'busy'"):
        parse_config(TEXT.replace("busy=1", "bus=1"))


def test_a_feature_without_hooks_of_its_own_phase(install: Install) -> None:
    source = SOURCE.read_text().replace("before(request=self.begin)", "before(early=self.begin)")
    install("busy", source, "Busy")
    with pytest.raises(ConfigErrors, match="phase early") as error:
        LB.from_config(TEXT)
    assert len(error.value.errors) == 2, "one at the route, one for the key of the frontend"


def test_two_processes_share_the_limit(toy: Path) -> None:
    servers, keys = Board.create(2), Board.create(2, ADDRESSES)
    with ExitStack() as stack:
        stack.callback(servers.close)
        stack.callback(keys.close)
        both = []
        for row in range(2):
            shared = BoardShared(servers, keys, row, {}, b"secret", [])
            both.append(stack.enter_context(LB.from_config(TEXT, shared=shared)))
            both[row].origin("a", "10.0.0.1:80").hang()
        assert refused([ask(both[n % 2], "/") for n in range(5)]) == 3


@pytest.mark.live
def test_workers_add_up_and_operate(toy: Path) -> None:
    def serve(sock: Any) -> None:
        for _ in heads(sock):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    port, admin = free_ports(2)
    server = ThreadServer(serve)
    text = TEXT.replace("tcp:80", f"tcp:{port}:interface=127.0.0.1")
    text = text.replace("10.0.0.1:80", server.address).replace("busy=1", "busy=0")
    # a place that is taken for good refuses everybody else
    text = text.replace("busy = 2", "busy = 1000")
    settings = f"[lbproxy]\nworkers = 2\nadmin = tcp:{admin}:interface=127.0.0.1\n"
    process = LBProcess(settings + text, toy, ports=(port, admin))
    try:
        api = f"http://127.0.0.1:{admin}"
        for _ in range(5):
            assert get(f"http://127.0.0.1:{port}/").status == 200
        label = b'lbproxy_route_busy_refused_total{route="web: default"} '
        assert until(lambda: label + b"0" in get(f"{api}/metrics").read())
        state = json.loads(get(f"{api}/api/v1/state").read())
        assert state["busy"]["web: default"] == {"route": "web: default", "limit": 1000, "held": 0}
        rows = json.loads(get(f"{api}/api/v1/routes").read())["items"]
        assert rows[-1]["busy"] == {"limit": 1000, "held": 0}
        process.rewrite(settings + text.replace("1000", "2000"))
        assert b'"ok":true' in change("POST", f"{api}/api/v1/reload")
        name = quote("web: default", safe="")
        assert b"forgotten" in change("DELETE", f"{api}/api/v1/routes/{name}/busy")
    finally:
        process.stop()
