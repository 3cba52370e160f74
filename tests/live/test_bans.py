"""Bans of a running lbproxy: workers share them, ``kill -9`` loses none, a drop is silent."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lbproxy.net.silence import may_repair
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import until

TEXT = """\
[lbproxy]
workers = {workers}
state = state.json
admin = tcp:{admin}:interface=127.0.0.1
[ban rude]
after = 6/1m
time = 10m..1h
except = 127.0.0.1
action = {action}
[frontend web]
listen = tcp:{port}:interface=127.0.0.1
bans = rude
routes =
    path /ok -> reply 200 ok
    default -> reply 404 none
"""


def ask(port: int, path: str, client: str) -> bytes:
    """The response to one request; "" if the connection was closed."""
    with socket.create_connection(
        ("127.0.0.1", port), timeout=60, source_address=(client, 0)
    ) as sock:
        try:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
            return sock.recv(12)
        except OSError:
            return b""


def api(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=60) as response:
        return json.load(response)


def text_for(workers: int, action: str = "close") -> tuple[str, int, int]:
    port, admin = free_ports(2)
    return TEXT.format(workers=workers, admin=admin, port=port, action=action), port, admin


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_bans_which_survive_kill(workers: int, tmp_path: Path) -> None:
    text, port, admin = text_for(workers)
    first = LBProcess(text, tmp_path, ports=[port, admin], forked=True)
    try:
        for _ in range(6):
            assert ask(port, "/none", "127.0.0.77") == b"HTTP/1.1 404"
        # two workers that count at the same moment may lose an offence: go on until it is enough
        assert until(lambda: not any(ask(port, "/none", "127.0.0.77") for _ in range(6)))
        assert ask(port, "/ok", "127.0.0.78") == b"HTTP/1.1 200"
        why = api(admin, "bans/why?address=127.0.0.77")["bans"][0]
        assert why["banned"] and why["last"][0]["reason"].startswith("6 offences")

        def refused() -> int:
            ask(port, "/none", "127.0.0.77")
            return int(api(admin, "bans")["items"][0]["refused"])

        # a connection that a worker has accepted before it knew of the ban counts as closed
        assert until(lambda: refused() >= 6)
        journal = tmp_path / "state.json.journal"
        assert until(lambda: journal.exists() and "127.0.0.77" in journal.read_text())
    finally:
        first.stop(signal.SIGKILL)
    assert until(lambda: _free(port), 60), "workers end with their master"
    second = LBProcess(text, tmp_path, ports=[port, admin], forked=True)
    try:
        assert until(lambda: not any(ask(port, "/ok", "127.0.0.77") for _ in range(4)))
        assert ask(port, "/ok", "127.0.0.78") == b"HTTP/1.1 200"
    finally:
        second.stop()


def _free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_a_drop_is_silent(tmp_path: Path) -> None:
    text, port, admin = text_for(1, "drop")
    process = LBProcess(text, tmp_path, ports=[port, admin], forked=True)
    try:
        for _ in range(6):
            ask(port, "/none", "127.0.0.77")
        found = api(admin, "state")["bans"]["rude"]["action"]
        assert found == ("drop (tcp_repair)" if may_repair() else "drop (reset)")
        with socket.create_connection(
            ("127.0.0.1", port), timeout=60, source_address=("127.0.0.77", 0)
        ) as sock:
            sock.settimeout(1.5)
            if may_repair():
                with pytest.raises(TimeoutError):
                    sock.recv(1)
            else:
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
    finally:
        process.stop()
