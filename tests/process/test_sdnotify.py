"""What systemd hears, and when."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from lbproxy.process.sdnotify import Systemd


class Manager:
    """Listens as systemd does."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self.sock.setblocking(False)

    def heard(self) -> list[list[str]]:
        found = []
        while True:
            try:
                found.append(self.sock.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.sock.close()


class Report:
    def summary(self) -> str:
        return "made 1 change\nkept all"


def test_ready_when_it_serves(manager: Manager, tmp_path: Path) -> None:
    clock, up = Clock(), [False]
    systemd = Systemd(clock, lambda: up[0], {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    systemd.start()
    clock.advance(0.5)
    assert manager.heard() == []
    up[0] = True
    clock.pump([0.1] * 20)
    assert manager.heard() == [["READY=1", "STATUS=serving"]]
    assert not clock.getDelayedCalls()


def test_after_an_upgrade_another_process_speaks(manager: Manager, tmp_path: Path) -> None:
    systemd = Systemd(Clock(), lambda: True, {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    systemd.handed_over(4711)
    systemd.stopping()
    assert manager.heard() == [["MAINPID=4711", "STATUS=serving after an upgrade"]]


def test_reload_and_stop(manager: Manager, tmp_path: Path) -> None:
    systemd = Systemd(Clock(), lambda: True, {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    order: list[Any] = []

    def work() -> Report:
        order.append(manager.heard())
        return Report()

    assert isinstance(systemd.reload(work), Report)
    (reloading,) = order[0]
    assert reloading[0] == "RELOADING=1"
    name, _, usec = reloading[1].partition("=")
    assert name == "MONOTONIC_USEC" and int(usec) > 0
    assert manager.heard() == [["READY=1", "STATUS=made 1 change kept all"]]
    systemd.stopping()
    assert manager.heard()[0][0] == "STOPPING=1"


@pytest.mark.parametrize(("pid", "watched"), [("mine", True), ("1", False), ("", True)])
def test_watchdog(manager: Manager, tmp_path: Path, pid: str, watched: bool) -> None:
    clock = Clock()
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    Systemd(
        clock,
        lambda: True,
        {**environment, "WATCHDOG_PID": str(os.getpid()) if pid == "mine" else pid},
    ).start()
    clock.pump([0.5] * 8)
    alive = [lines for lines in manager.heard() if lines == ["WATCHDOG=1"]]
    assert len(alive) == (5 if watched else 0)


def test_an_abstract_socket() -> None:
    name = f"lbproxy-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    Systemd(Clock(), lambda: True, {"NOTIFY_SOCKET": f"@{name}"}).start()
    assert manager.heard()
    manager.sock.close()


def test_without_systemd_and_without_its_socket() -> None:
    clock = Clock()
    Systemd(clock, lambda: True, {}).start()
    assert not clock.getDelayedCalls()
    Systemd(clock, lambda: True, {"NOTIFY_SOCKET": "/nowhere/notify"}).tell("READY=1")


def test_the_watchdog_is_not_fed_while_a_worker_hangs(manager: Manager, tmp_path: Path) -> None:
    clock, turning = Clock(), [True]
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    Systemd(clock, lambda: True, environment, turning=lambda: turning[0]).start()
    clock.pump([0.5] * 4)
    assert manager.heard().count(["WATCHDOG=1"]) == 3
    turning[0] = False
    clock.pump([0.5] * 8)
    assert manager.heard() == []
    turning[0] = True
    clock.pump([0.5] * 4)
    assert manager.heard() == [["WATCHDOG=1"]] * 2
