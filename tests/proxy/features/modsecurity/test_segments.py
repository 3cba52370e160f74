"""Shared memory segments of libmodsecurity: none outlives its process, and no other is touched."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lbproxy.proxy.features.waf.modsecurity import matchlog, segments
from lbproxy.proxy.features.waf.modsecurity.bindings import RulesError
from lbproxy.proxy.features.waf.modsecurity.judge import RuleJudge
from lbproxy.proxy.features.waf.modsecurity.start import environment
from tests.support.modsecurity import library

CHILD = """
import os
from lbproxy.proxy.features.waf.modsecurity.judge import RuleJudge
judge = RuleJudge((), 1024)
print(open("/proc/self/maps").read().count("/SYSV"), flush=True)
{end}
"""
REMOVED = 0o1000  # SHM_DEST of the mode: the segment ends with its last process


def rows() -> dict[int, list[str]]:
    """The segments of the system by number: key, number, mode, size, creator, ..."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {int(row[1]): row for row in map(str.split, lines)}


def created(by: int, before: dict[int, list[str]]) -> list[list[str]]:
    """The segments of the process ``by`` that were not there before."""
    return [row for number, row in rows().items() if number not in before and int(row[4]) == by]


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "judge.close()", ""])
def test_no_segment_outlives_its_process(end: str) -> None:
    library().close()
    before = rows()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(end=end)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = child.communicate(timeout=60)
    assert child.returncode == (-signal.SIGKILL if "kill" in end else 0)
    assert int(out) <= 1
    assert created(child.pid, before) == []


def test_segments_are_removed_as_soon_as_they_are_attached() -> None:
    library().close()
    RuleJudge((), 1024).close()
    ours = [rows()[number] for number in segments._attached()]
    assert all(int(row[2], 8) & REMOVED for row in ours if int(row[4]) == os.getpid())


@contextmanager
def segment(key: int = 0, size: int = 8) -> Iterator[int]:
    """A segment of this test."""
    c: Any = ctypes.CDLL(None)
    number = c.shmget(key, size, 0o1666)
    assert number >= 0
    try:
        yield number
    finally:
        c.shmctl(number, 0, None)


@pytest.fixture
def attach() -> Iterator[Callable[[int], None]]:
    """Attaches a segment for the time of the test."""
    c: Any = ctypes.CDLL(None)
    c.shmat.restype = ctypes.c_void_p
    places: list[int] = []
    yield lambda number: places.append(c.shmat(number, None, 0))
    for place in places:
        assert c.shmdt(ctypes.c_void_p(place)) == 0


def test_only_own_segments_that_the_body_attaches_are_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attach: Callable[[int], None]
) -> None:
    with segment() as own, segment() as earlier, segment() as idle, segment() as others:
        attach(earlier)
        with segments.removed_at_end():
            attach(own)
        assert int(rows()[own][2], 8) & REMOVED
        found = rows()[others]
        found[4] = str(os.getppid())
        (tmp_path / "shm").write_text(" ".join(found) + "\n")
        monkeypatch.setattr(segments, "_SEGMENTS", tmp_path / "shm")
        with segments.removed_at_end():
            attach(others)
        assert not any(int(rows()[one][2], 8) & REMOVED for one in (earlier, idle, others))


def test_a_file_whose_key_is_taken_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def is_free(path: str) -> bool:
        asked.append(path)
        return len(asked) == 3

    monkeypatch.setattr(matchlog, "is_key_free", is_free)
    file = matchlog._file.__wrapped__()
    assert len(set(asked)) == 3 and asked[-1] == f"/proc/self/fd/{file}"
    assert os.fstat(file).st_nlink == 0
    os.close(file)
    for path in asked[:2]:
        assert not Path(path).exists() or "lbproxy-waf" not in os.readlink(path)


def test_a_key_that_is_taken_is_found_and_a_log_that_cannot_be_opened_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library().close()
    RuleJudge((), 1024).close()
    if not segments._attached():
        pytest.skip("this version of the library uses no shared memory")
    c: Any = ctypes.CDLL(None)
    file = matchlog._file.__wrapped__()
    path = f"/proc/self/fd/{file}"
    monkeypatch.setattr(matchlog, "_file", lambda: file)
    monkeypatch.setattr(matchlog, "_opened", [])
    assert segments.is_key_free(path)
    with segment(c.ftok(path.encode(), 1)):  # too small for the library
        assert not segments.is_key_free(path)
        with pytest.raises(RulesError, match="cannot open its log"):
            RuleJudge((), 1024)
    os.close(file)
