"""The journal of a folder store: what processes that share it must learn, whatever happens."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbproxy.proxy.features.caching.disk import copying
from lbproxy.proxy.features.caching.disk import journal as module
from lbproxy.proxy.features.caching.disk.journal import NAME, Journal
from tests.support.descriptors import descriptors, settled_descriptors


class Process:
    """A process that follows the journal; ``known``: the records since the last reset."""

    def __init__(self, folder: Path) -> None:
        self.known: list[bytes] = []
        self.resets = 0
        self.journal = Journal(folder, self._apply, self._reset)
        self.journal.sync()

    def _apply(self, payload: bytes) -> None:
        self.known.append(payload)

    def _reset(self, damaged: bool) -> None:
        self.known.clear()
        self.resets += 1

    def append(self, *payloads: bytes) -> None:
        """Append records."""
        self.journal.append(lambda: payloads)

    def compact(self, payloads: Callable[[], list[bytes]]) -> None:
        """Compact the journal at once."""
        for _ in self.journal.compaction(payloads):
            pass

    def synced(self) -> list[bytes]:
        """What it knows after a sync."""
        self.journal.sync()
        return self.known


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    """Two processes that know the same three records."""
    one, other = Process(tmp_path), Process(tmp_path)
    for number in range(3):
        one.append(b"record %d" % number)
    assert other.synced() == one.known
    yield one, other
    one.journal.close()
    other.journal.close()


def full(fd: int, data: bytes, offset: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_emptied_journal_that_grows_again_is_no_continuation(
    two: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "pwrite", full)
        one.journal.append_surely(b"a purge")
    for number in range(3):
        one.append(b"purged %d" % number)  # as many bytes as before
    one.append(b"stored")
    assert other.synced() == one.known == [b"purged 0", b"purged 1", b"purged 2", b"stored"]


def test_damage_is_noticed_by_all(two: tuple[Process, Process], tmp_path: Path) -> None:
    one, other = two
    one.append(b"record 3", b"record 4")
    path = tmp_path / NAME
    data = bytearray(path.read_bytes())
    data[-12] ^= 1
    path.write_bytes(data)
    assert other.synced() == []
    other.append(b"new")
    assert one.synced() == [b"new"]
    assert Process(tmp_path).known == [b"new"]


def test_files_that_somebody_removed_are_made_anew(
    two: tuple[Process, Process], tmp_path: Path
) -> None:
    one, other = two
    for path in tmp_path.iterdir():
        path.unlink()
    one.append(b"a purge")
    assert other.synced() == [b"a purge"]
    third = Process(tmp_path)
    with one.journal._locked():
        assert third.known == [b"a purge"]
        stamps = [os.fstat(each.journal._lock).st_ino for each in (one, third)]
        assert stamps == [(tmp_path / "lock").stat().st_ino] * 2


def test_a_process_that_is_behind_a_compaction_goes_on(two: tuple[Process, Process]) -> None:
    one, other = two
    resets = other.resets
    one.append(b"last")
    one.compact(lambda: [b"last"])
    other.append(b"next")
    assert (other.known[-2:], other.resets) == ([b"last", b"next"], resets)
    assert one.synced()[-1] == b"next"


def test_a_compaction_has_what_another_process_did_meanwhile(
    two: tuple[Process, Process], tmp_path: Path
) -> None:
    one, other = two
    other.append(b"a purge")
    one.compact(lambda: list(one.known))
    assert Process(tmp_path).known[-1] == b"a purge"


def test_a_failed_compaction_leaves_no_file(
    two: tuple[Process, Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.setattr(copying, "write_pieces", lambda *_: full(0, b"", 0))
    with pytest.raises(OSError, match="No space"):
        one.compact(list)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, "lock"]
    one.append(b"next")
    assert other.synced()[-1] == b"next"


def test_a_journal_that_cannot_be_opened_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    before = settled_descriptors()
    for _ in range(3):
        with pytest.raises(OSError, match="directory"):
            Process(tmp_path)
    assert descriptors() <= before
