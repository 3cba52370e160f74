"""The state file: a folder where it cannot be written is reported before the first change."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock

from lbproxy.operate.statefile import StateFile, write_whole


def test_a_folder_that_cannot_be_written_is_reported_at_the_start(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path / "missing" / "state.json"), Clock())
    assert not file.load()
    assert file.error == f"folder {tmp_path}/missing does not exist or is not writable"


def test_a_folder_that_can_be_written_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    file = StateFile(path, Clock())
    assert not file.load() and file.error == ""
    write_whole(path, b"{}")
    assert not file.load() and file.error == ""
