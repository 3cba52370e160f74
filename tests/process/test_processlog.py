"""The process log: one line for each event, as text or JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile

from lbproxy.process.processlog import ProcessLog, json_line


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text: str) -> int:
        raise OSError("no space left")


def event(**more: Any) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    Logger("lbproxy.tap", observer=found.append).warn("{who} is gone", who="söm one", **more)  # type: ignore[arg-type]
    return found[0]


def test_a_json_line() -> None:
    line = json_line({**event(), "log_time": 1700000000.25})
    assert line.endswith("}\n") and "söm one" in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warn",
        "logger": "lbproxy.tap",
        "message": "söm one is gone",
    }


def test_a_failure_is_one_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = json_line(event(log_failure=Failure()))
    assert line.count("\n") == 1
    assert "ValueError: two" in json.loads(line)["traceback"]


def test_events_of_the_old_logging() -> None:
    lines: list[str] = []

    def observe(found: dict[str, Any]) -> None:
        lines.append(json_line(found))

    from twisted.logger import globalLogPublisher

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    try:
        legacy.msg("starting")
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]
    found = json.loads(lines[-1])
    assert (found["logger"], found["level"], found["message"]) == ("twisted", "info", "starting")


def test_a_reload_changes_the_format() -> None:
    stream = io.StringIO()
    form = ["text"]
    observer = ProcessLog(stream, lambda: form[0])
    observer(event())
    form[0] = "json"
    observer(event())
    observer({"log_format": "", "log_level": None})
    text, as_json = stream.getvalue().splitlines()
    assert text.endswith("[lbproxy.tap#warn] söm one is gone")
    assert json.loads(as_json)["level"] == "warn"


def test_a_line_that_cannot_be_written_is_lost() -> None:
    ProcessLog(Full(), lambda: "text")(event())
    closed = io.StringIO()
    closed.close()
    ProcessLog(closed, lambda: "json")(event())


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_name_that_is_not_utf_8_does_not_lose_the_line(tmp_path: Path, form: str) -> None:
    file = LogFile("lb.log", str(tmp_path))
    observer = ProcessLog(file, lambda: form)
    name = b"k\xffy.pem".decode("utf-8", "surrogateescape")
    Logger("lbproxy.tap", observer=observer).warn("no {name}", name=name)  # type: ignore[arg-type]
    file.close()
    line = (tmp_path / "lb.log").read_text()
    assert "no k\\udcffy.pem" in line
    if form == "json":
        assert json.loads(line)["message"] == f"no {name}"
