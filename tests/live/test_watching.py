"""Logs and alerts of lbproxy as users start it: rotation, reopening, syslog, webhooks."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.lb_process import LBProcess, sooner
from tests.support.origin import RawOrigin
from tests.support.ports import free_port
from tests.support.process import until

TEXT = """
[lbproxy]
access_log = {log}
{more}
[frontend web]
listen = tcp:{port}:interface=127.0.0.1
backend = app
[backend app]
servers = a {origin}
check = tcp every=200ms rise=1 fall=1
"""


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[RawOrigin]:
    made = RawOrigin(tmp_path / "origin").start()
    yield made
    made.stop()


class Lb(LBProcess):
    def __init__(
        self,
        folder: Path,
        origin: RawOrigin,
        log: str,
        more: str = "",
        *,
        modules: Path | None = None,
    ) -> None:
        self.port = free_port()
        text = TEXT.format(log=log, port=self.port, origin=origin.address, more=more)
        super().__init__(text, folder / "lb", timeout=60, modules=modules, forked=True)

    def get(self, count: int = 1, path: str = "/ok") -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        for _ in range(count):
            connection.request("GET", path)
            connection.getresponse().read()
        connection.close()

    def lines(self, name: str = "access.log") -> int:
        path = self.folder / name
        return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_log_that_is_moved_away_is_opened_anew(tmp_path: Path, origin: RawOrigin) -> None:
    with Lb(tmp_path, origin, "access.log") as lb:
        lb.get(5)
        assert until(lambda: lb.lines() == 5)
        (lb.folder / "access.log").rename(lb.folder / "moved")
        lb.get(2)
        assert until(lambda: lb.lines("moved") == 7), "until the signal the old file is used"
        lb.child.send_signal(signal.SIGUSR1)
        assert until((lb.folder / "access.log").exists)
        lb.get(3)
        assert until(lambda: lb.lines() == 3) and lb.lines("moved") == 7


def test_rotation_under_load_loses_no_line(tmp_path: Path, origin: RawOrigin) -> None:
    with Lb(tmp_path, origin, "access.log json rotate_size=4k keep=500") as lb:
        threads = [threading.Thread(target=lb.get, args=(100,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        def files() -> list[Path]:
            return sorted(lb.folder.glob("access.log*"))

        assert until(lambda: sum(lb.lines(path.name) for path in files()) == 400)
        assert len(files()) > 2
        for path in files():
            for line in path.read_text().splitlines():
                assert json.loads(line)["status"] == 200


def test_syslog(tmp_path: Path, origin: RawOrigin) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(60)
    log = f"syslog:udp:127.0.0.1:{server.getsockname()[1]} json sample=0%"
    with Lb(tmp_path, origin, log) as lb:
        lb.get(5)
        lb.get(1, "/garbage")  # an error is logged whatever the share
        message = server.recv(65536)
    server.close()
    head, _, text = message.partition(b" - - ")
    assert head.startswith(b"<134>1 ") and b" lbproxy " in head
    assert json.loads(text)["status"] == 502 and json.loads(text)["target"] == "/garbage"


def test_a_backend_that_dies_is_told_by_webhook(tmp_path: Path, origin: RawOrigin) -> None:
    got: list[Any] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    hook = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    alerts = f"[alerts]\nwebhooks = http://127.0.0.1:{hook.server_port}/\n"
    modules = sooner(tmp_path / "modules", "lbproxy.observe.alerts.CALM", 1.0)
    try:
        with Lb(tmp_path, origin, "off", alerts, modules=modules) as lb:
            lb.get(3)
            origin.stop()
            assert until(lambda: bool(got))
            assert got[0]["alerts"][0]["name"] == "backend_empty"
            assert got[0]["severity"] == "error"
            origin.start()
            assert until(lambda: len(got) > 1, 60)
            assert got[1]["alerts"][0]["state"] == "recovered"
    finally:
        hook.shutdown()
        hook.server_close()
