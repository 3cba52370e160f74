"""Which changes of files count, and when."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from lbproxy.process.filewatch import FileWatch


class Watched:
    """A watch on virtual time; ``reloads`` counts."""

    def __init__(self, *sources: Path | str) -> None:
        self.clock = Clock()
        self.sources = [str(source) for source in sources]
        self.reloads = 0
        self.watch = FileWatch(self.clock, lambda: self.sources, self.changed)
        self.watch.startService()

    def changed(self) -> None:
        self.reloads += 1

    def after(self, seconds: int) -> int:
        """Reloads so far, once so many seconds have passed."""
        for _ in range(seconds):
            self.clock.advance(1)
        return self.reloads


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    path = tmp_path / "lb.ini"
    path.write_text("one")
    return path


def test_nothing_happens_without_a_change(ini: Path) -> None:
    assert Watched(ini).after(10) == 0


def test_a_change_counts_when_it_is_over(ini: Path) -> None:
    watched = Watched(ini)
    ini.write_text("two!")
    assert watched.after(1) == 0
    ini.write_text("three!!")
    assert watched.after(1) == 0, "it has changed again"
    assert watched.after(1) == 1
    assert watched.after(5) == 1


def test_replaced_by_another_file(ini: Path, tmp_path: Path) -> None:
    watched = Watched(ini)
    other = tmp_path / "other"
    other.write_text("one")
    other.rename(ini)
    assert watched.after(3) == 1


def test_gone_and_back(ini: Path) -> None:
    watched = Watched(ini)
    ini.unlink()
    assert watched.after(3) == 1
    ini.write_text("one")
    assert watched.after(3) == 2


def test_a_new_file_that_a_pattern_fits(ini: Path, tmp_path: Path) -> None:
    watched = Watched(ini, tmp_path / "conf.d" / "*.ini")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.ini").write_text("x")
    (tmp_path / "conf.d" / "notes.txt").write_text("x")
    assert watched.after(3) == 1
    (tmp_path / "conf.d" / "notes.txt").write_text("y")
    assert watched.after(3) == 1
    (tmp_path / "conf.d" / "a.ini").unlink()
    assert watched.after(3) == 2


def test_new_sources_after_a_reload(ini: Path, tmp_path: Path) -> None:
    watched = Watched(ini)
    more = tmp_path / "more.ini"
    more.write_text("x")
    watched.sources.append(str(more))
    watched.watch._known[str(more)] = watched.watch._look()[str(more)]
    more.write_text("yy")
    assert watched.after(3) == 1
    assert watched.after(3) == 1


def test_switched_on_and_off(ini: Path) -> None:
    watched = Watched()
    ini.write_text("two")
    assert watched.after(2) == 0
    watched.sources = [str(ini)]
    assert watched.after(3) == 0
    ini.write_text("three")
    assert watched.after(3) == 1
    watched.sources = []
    ini.write_text("four")
    assert watched.after(3) == 1
    watched.watch.stopService()
    assert not watched.clock.getDelayedCalls()
