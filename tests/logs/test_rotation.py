"""Log files that begin anew, on real files with a virtual clock."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from lbproxy.config.model import LogSpec
from lbproxy.logs.sink import LogSink

LINE = b"x" * 99 + b"\n"
DAY = 86400.0
NOON = 20_000 * DAY + DAY / 2


class World:
    """A sink, its clock, and the time of day."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.clock = Clock()
        self.path = path
        self.sink = LogSink(
            LogSpec(str(path), **options), self.clock, lambda: NOON + self.clock.seconds()
        )
        self.sink.start()

    def write(self, lines: int = 1) -> None:
        for _ in range(lines):
            self.sink.write(LINE)
        self.clock.advance(0.2)

    def files(self) -> dict[str, int]:
        """Name -> lines in it."""
        return {
            path.name: path.read_bytes().count(b"\n") for path in sorted(self.path.parent.iterdir())
        }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def test_by_size(path: Path) -> None:
    world = World(path, rotate_size=1000, keep=3)
    world.write(10)
    assert world.files() == {"access.log": 10}
    for count in (9, 2, 10, 11, 1):
        world.write(count)
    assert world.files() == {
        "access.log": 1, "access.log.1": 11, "access.log.2": 10, "access.log.3": 11,
    }  # fmt: skip
    world.sink.stop()


def test_by_time_at_midnight(path: Path) -> None:
    world = World(path, rotate_every=DAY)
    world.write(1)
    world.clock.advance(DAY / 2 - 1)
    world.write(1)
    assert world.files() == {"access.log": 2}
    world.clock.advance(1)
    world.write(1)
    assert world.files() == {"access.log": 1, "access.log.1": 2}
    world.clock.advance(5 * DAY)  # days without traffic make no files
    world.write(1)
    assert world.files() == {"access.log": 1, "access.log.1": 1, "access.log.2": 2}


def test_yesterdays_file_is_put_aside_after_a_restart(path: Path) -> None:
    path.write_bytes(LINE * 5)
    os.utime(path, (NOON - DAY, NOON - DAY))
    world = World(path, rotate_every=DAY)
    world.write(1)
    assert world.files() == {"access.log": 1, "access.log.1": 5}


def test_an_empty_file_of_yesterday_is_just_used(path: Path) -> None:
    path.touch()
    os.utime(path, (NOON - DAY, NOON - DAY))
    world = World(path, rotate_every=DAY)
    world.clock.advance(2 * DAY)
    world.write(1)
    assert world.files() == {"access.log": 1}


def test_keep_nothing(path: Path) -> None:
    world = World(path, rotate_size=100, keep=0)
    for _ in range(4):
        world.write(1)
    assert world.files() == {"access.log": 1}


def test_fewer_are_kept_after_a_change(path: Path) -> None:
    for n in range(1, 8):
        path.with_name(f"access.log.{n}").write_bytes(LINE * n)
    path.write_bytes(LINE)
    world = World(path, rotate_size=100, keep=3)
    world.write(4)
    assert world.files() == {
        "access.log": 4, "access.log.1": 1, "access.log.2": 1, "access.log.3": 2,
    }  # fmt: skip


def test_a_gap_is_filled_and_nothing_beyond_it_moves(path: Path) -> None:
    path.with_name("access.log.2").write_bytes(LINE * 7)
    path.write_bytes(LINE)
    world = World(path, rotate_size=100, keep=5)
    world.write(3)
    assert world.files() == {"access.log": 3, "access.log.1": 1, "access.log.2": 7}


def test_several_processes_lose_and_double_nothing(path: Path) -> None:
    worlds = [World(path, rotate_size=1000, keep=1000) for _ in range(4)]
    for turn in range(200):
        worlds[turn % 4].write(1 + turn % 3)
    for world in worlds:
        world.sink.stop()
    files = worlds[0].files()
    assert sum(files.values()) == sum(1 + turn % 3 for turn in range(200))
    assert all(count <= 14 for count in files.values()), files
    assert len(files) > 25 and not sum(world.sink.errors for world in worlds)


def test_a_file_that_cannot_be_put_aside_is_used_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(path, rotate_size=100)

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        for _ in range(20):
            world.write(1)
            world.clock.advance(1)
    assert world.files() == {"access.log": 20} and world.sink.errors == 1
    world.clock.advance(60)
    world.write(1)
    assert world.files() == {"access.log": 1, "access.log.1": 20} and not world.sink.dropped


def test_rotation_and_reopen_together(path: Path) -> None:
    world = World(path, rotate_size=1000)
    world.write(3)
    path.rename(path.with_name("moved"))
    world.sink.reopen()
    world.write(12)
    world.write(1)
    assert world.files() == {"access.log": 1, "access.log.1": 12, "moved": 3}
