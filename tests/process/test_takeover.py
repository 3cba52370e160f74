"""The new process's side of an upgrade, with the pipes and files of both sides in this process."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from lbproxy.process.remainder import Remainder, read_remainder
from lbproxy.process.takeover import HandoverError, Takeover
from lbproxy.process.upgrade import ENVIRONMENT, LIMIT_S, READY, VERSION


class Old:
    """The running process: what it hands over, and what it sees."""

    def __init__(self, folder: Path) -> None:
        self.ready, self._ready = os.pipe()
        self.messages = folder / "stderr"
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.remainder = Remainder()
        file, self._read = self.remainder.theirs
        self.pidfile = folder / "pid"
        address = {"kind": "tcp", "host": "127.0.0.1", "port": 80}
        self.told: dict[str, Any] = {
            "version": VERSION,
            "known": {"a": 1},
            "pidfile": str(self.pidfile),
            "ready": self._ready,
            "stderr": os.open(self.messages, os.O_WRONLY | os.O_CREAT),
            "sockets": [{"address": address, "fds": [os.dup(self.socket.fileno())]}],
            "remainder": [os.dup(file), self._read],
        }

    def environment(self) -> dict[str, str]:
        """As the new process finds it."""
        file = os.memfd_create("told")
        os.write(file, json.dumps(self.told).encode())
        os.lseek(file, 0, os.SEEK_SET)
        return {ENVIRONMENT: str(file), "PATH": "/bin"}

    def close(self) -> None:
        os.close(self.ready)
        self.socket.close()


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Old]:
    stderr = os.dup(2)
    one = Old(tmp_path)
    yield one
    one.close()
    os.dup2(stderr, 2)
    os.close(stderr)


@pytest.mark.parametrize("ends", ["writes", "dies", "hangs"])
def test_it_takes_over_once_it_serves(old: Old, ends: str) -> None:
    environment = old.environment()
    takeover = Takeover.from_environment(environment)
    assert takeover is not None and environment == {"PATH": "/bin"}
    assert takeover.known == {"a": 1}
    with takeover.stderr() as stderr:
        print("starting", file=stderr)
    clock, serves, calls = Clock(), [False], []
    complete: list[Any] = []
    takeover.start(
        clock, lambda: serves[0], lambda: calls.append("own"), lambda *found: complete.append(found)
    )
    clock.advance(1)
    assert calls == []
    serves[0] = True
    clock.advance(1)
    assert (calls, os.read(old.ready, 9), complete) == (["own"], READY, [])
    if ends == "writes":
        old.remainder.send([{"kind": "reload"}], [("bans", {"ip": "192.0.2.1"})])
    if ends == "hangs":
        clock.pump([1.0] * int(LIMIT_S + 2))
        assert complete == [([], [])]
        old.remainder.close()
        return
    old.remainder.close()
    clock.advance(1)
    events = [{"kind": "reload"}] if ends == "writes" else []
    kept = [["bans", {"ip": "192.0.2.1"}]] if ends == "writes" else []
    assert complete == [(events, kept)]
    assert old.messages.read_text().startswith("starting\n")


def test_a_process_that_was_killed_meanwhile_and_an_old_one_without_a_remainder(old: Old) -> None:
    for descriptor in old.told.pop("remainder"):
        os.close(descriptor)
    takeover = Takeover(old.told)
    os.close(old.ready)
    complete: list[Any] = []
    takeover.start(Clock(), lambda: True, lambda: None, lambda *found: complete.append(found))
    assert complete == [([], [])]
    old.ready = os.open(os.devnull, os.O_RDONLY)
    old.remainder.close()


def test_the_pid_file_goes_with_its_process_only(old: Old) -> None:
    takeover = Takeover(old.told)
    old.pidfile.write_text("1\n")
    takeover.remove_pidfile()
    assert old.pidfile.exists()
    old.pidfile.write_text(f"{os.getpid()}\n")
    takeover.remove_pidfile()
    assert not old.pidfile.exists()
    takeover.start(Clock(), lambda: True, lambda: None, lambda *found: None)
    old.remainder.close()


def test_an_ordinary_start() -> None:
    assert Takeover.from_environment({}) is None


@pytest.mark.parametrize("number", ["x", "99999"])
def test_a_document_that_cannot_be_read(number: str) -> None:
    with pytest.raises(HandoverError, match="cannot be read"):
        Takeover.from_environment({ENVIRONMENT: number})


@pytest.mark.parametrize("told", [[], {}, {"version": -1}])
def test_an_unknown_protocol(told: Any) -> None:
    with pytest.raises(HandoverError, match="does not support: restart it"):
        Takeover(told)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (b'[{"kind": "reload"}]', ([{"kind": "reload"}], [])),
        (b'{"events": [], "kept": [["a", 1]]}', ([], [["a", 1]])),
        (b'{"events": [', ([], [])),
        (b"", ([], [])),
    ],
)
def test_the_remainder_of_other_versions_and_of_a_crash(written: bytes, found: Any) -> None:
    file = os.memfd_create("remainder")
    os.write(file, written)
    read, write = os.pipe()
    assert read_remainder(file, read) is None
    os.close(write)
    assert read_remainder(file, read) == found
