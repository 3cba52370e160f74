"""The journal: torn lines, a full disk, a stop at a bad moment, and a process that takes over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.operate import journal
from lbproxy.operate.journal import AGAIN, SOON, KeptJournal
from lbproxy.sharing.local import LocalReplicated
from lbproxy.testing.memory import MemoryReactor


class World:
    """A journal, and a feature that knows the last message of each name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reactor = MemoryReactor()
        self.replicated = LocalReplicated(self.reactor.seconds)
        self.known: dict[str, Any] = {}
        self.end = self.replicated.subscribe("topic", self._heard, self._whole, kept=True)
        self.journal = KeptJournal(str(path), self.reactor, self.replicated)

    def _heard(self, message: dict[str, Any]) -> None:
        self.known.update(message)

    def _whole(self) -> Iterator[dict[str, Any]]:
        for key in list(self.known):
            yield {key: self.known[key]}

    def say(self, **message: Any) -> None:
        self.replicated.publish("topic", message)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / SOON) + 2):
            self.reactor.advance(SOON)

    def read(self) -> dict[str, Any]:
        """What another process finds."""
        other = World(self.path)
        other.journal.restore()
        return other.known


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state.journal")


@pytest.mark.parametrize("before", [b"", b'{"topic": "topic", "message": {"a": 1}}\n'])
def test_what_follows_a_torn_line_is_read(world: World, before: bytes) -> None:
    torn = before + b'{"topic": "topic", "mess'
    world.path.write_bytes(torn)
    journal._append(str(world.path), b'{"topic": "topic", "message": {"b": 2}}\n')
    assert world.read() == ({"a": 1, "b": 2} if before else {"b": 2})


def test_messages_of_a_full_disk_are_written_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.journal.restore()
    world.say(a=1)
    world.pass_time(SOON)

    def full(path: str, data: bytes) -> None:
        with open(path, "ab") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_append", full)
        patch.setattr(journal, "write_whole", full)
        world.say(b=2)
        world.pass_time(SOON)
        assert world.journal.error == "No space left on device"
        world.say(c=3)
        world.pass_time(AGAIN)
    world.pass_time(AGAIN)
    assert world.journal.error == ""
    assert world.read() == {"a": 1, "b": 2, "c": 3}


def test_a_file_that_could_not_be_replaced_is_replaced_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.journal.restore()

    def full(path: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "_LEAST", 1000)
    world.journal._enough = 1000
    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_whole", full)
        for number in range(200):
            world.say(a=number)
            world.pass_time(SOON)
        assert world.journal.error
        world.say(b=1)
        world.pass_time(AGAIN)
    world.pass_time(AGAIN)
    assert world.journal.error == ""
    assert world.path.stat().st_size < 200
    assert world.read() == {"a": 199, "b": 1}


def test_a_disk_that_hangs_does_not_fill_the_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_PENDING", 100)
    world.journal.restore()
    world.journal._busy = True
    for number in range(1000):
        world.say(**{f"k{number % 7}": number})
    assert len(world.journal._waiting) <= 100
    world.journal._over()
    world.pass_time(AGAIN)
    assert world.read() == world.known


def test_a_stop_while_it_is_collected_loses_nothing(world: World) -> None:
    world.journal.restore()
    world.say(a=1)
    world.say(b=2)
    world.pass_time(SOON)
    world.journal._lost = True
    world.journal._collect()
    world.say(c=3)
    world.end()
    world.journal.stopService()
    world.pass_time(AGAIN)
    assert world.read() == {"a": 1, "b": 2, "c": 3}


def test_a_file_that_cannot_be_read_is_left_alone(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x")
    world.path.symlink_to(other)
    world.journal.restore()
    world.say(a=1)
    world.pass_time(AGAIN)
    assert world.journal.error
    assert world.path.is_symlink() and other.read_bytes() == b"x"


def test_a_large_state_is_not_collected_at_each_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_LEAST", 1000)
    world.journal._enough = 1000
    world.journal.restore()
    for number in range(100):
        world.say(**{f"k{number}": number})
    world.pass_time(SOON)
    collected = []
    every = world.replicated.everything
    monkeypatch.setattr(world.replicated, "everything", lambda: collected.append(1) or every())
    for number in range(100):
        world.say(**{f"k{number}": -number})
        world.pass_time(SOON)
    assert len(collected) < 3
    assert world.read() == world.known


def test_what_was_begun_is_done_before_another_process_writes(world: World) -> None:
    world.journal.restore()
    world.say(a=1)
    jobs: list[Any] = []
    world.journal._work, work = lambda: jobs.append(1), world.journal._work  # type: ignore[method-assign]
    world.pass_time(SOON)
    world.journal._work = work  # type: ignore[method-assign]
    assert jobs and not world.path.exists()
    world.journal.silence()
    assert world.read() == {"a": 1}
    world.path.unlink()
    work()
    world.say(b=2)
    world.pass_time(AGAIN)
    assert not world.path.exists()


def test_a_successor_writes_only_what_is_its_own(world: World) -> None:
    world.path.write_bytes(b"")
    world.journal.inherit()
    world.say(a=1)
    world.journal.restore()
    world.pass_time(AGAIN)
    assert world.path.read_bytes() == b""
    world.journal.own()
    world.say(b=2)
    world.pass_time(AGAIN)
    assert world.read() == {"a": 1, "b": 2}
