"""A feature of routes in several processes: a shared limit, sums and operations."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lbproxy.testing import LB
from lbproxy.workers.board import ADDRESSES, Board
from lbproxy.workers.shared import BoardShared
from tests.extending.busy import TEXT, ask, refused, toy
from tests.extending.test_feature import change, get
from tests.live.clients import ThreadServer, heads
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import until

__all__ = ["toy"]


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
