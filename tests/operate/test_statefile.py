"""The state file: a folder where it cannot be written is reported before the first change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

from twisted.internet.task import Clock

from lbproxy.config.changes import Changes, ServerChange
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


class _Threads(Clock):
    """A reactor that keeps the jobs for its threads."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Callable[[], None]] = []

    def getThreadPool(self) -> Any:
        return self

    def callFromThread(self, call: Callable[..., Any], *words: Any) -> None:
        call(*words)

    def callInThreadWithCallback(self, done: Any, job: Any, *words: Any) -> None:
        self.jobs.append(lambda: done(True, job(*words)))


def test_saving_many_changes_takes_no_long_turn(tmp_path: Path) -> None:
    many = 100_000
    names = [f"s{number * 7919 % many}" for number in range(many)]
    changes = Changes(
        {"app": dict.fromkeys(names, ServerChange(weight=3))},
        {"app": dict.fromkeys(names, "10.0.0.1:80")},
        {"app": set(names)},
    )
    reactor, path = _Threads(), tmp_path / "state.json"
    file = StateFile(str(path), reactor)
    file.changed(changes)
    start = thread_time()
    reactor.advance(1)
    assert thread_time() - start < 0.02, "the rest is done in a thread"
    changes.forget("app", "s7")
    (job,) = reactor.jobs
    job()
    text = path.read_text()
    found = json.loads(text)
    assert found["servers"]["app"]["s7"] == {"weight": 3}, "as it was"
    assert len(found["added"]["app"]) == len(found["removed"]["app"]) == many
    assert text == json.dumps(found, indent=1, sort_keys=True) + "\n"
