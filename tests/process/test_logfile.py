"""Two processes write one log file."""

from __future__ import annotations

from pathlib import Path

from twisted.python.logfile import LogFile

from lbproxy.process.logfile import append_only


def test_neither_overwrites_the_other(tmp_path: Path) -> None:
    path = tmp_path / "log"
    old = LogFile.fromFullPath(str(path))
    old.write("one\n")
    new = LogFile.fromFullPath(str(path))
    assert append_only(str(path)) == 2
    new.write("two\n")
    old.write("three\n")
    new.write("four\n")
    assert path.read_text().split() == ["one", "two", "three", "four"]
    old.close()
    new.close()
    assert append_only(str(path)) == 0 and append_only("") == 0
