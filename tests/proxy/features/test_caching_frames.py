"""Frames of the journal of a cache: what is whole, cut or damaged, and the copy of a compaction."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lbproxy.proxy.features.caching.disk import copying, frames
from lbproxy.proxy.features.caching.disk.copying import JournalCopy
from lbproxy.proxy.features.caching.disk.frames import frame, write_pieces

PAYLOADS = [b"one", b"", b"x" * 300]
WHOLE = b"".join(map(frame, PAYLOADS))


def read(data: bytes) -> list[bytes | None]:
    return list(frames.frames(data))


def test_a_cut_end_is_no_damage() -> None:
    ends = [len(b"".join(map(frame, PAYLOADS[:number]))) for number in range(4)]
    for cut in range(len(WHOLE) + 1):
        whole = sum(end <= cut for end in ends) - 1
        assert read(WHOLE[:cut]) == PAYLOADS[:whole], cut


@pytest.mark.parametrize("at", range(len(frame(b"one"))))
def test_a_changed_bit_is_damage_and_ends_the_reading(at: int) -> None:
    data = bytearray(WHOLE)
    data[at] ^= 1
    assert read(bytes(data)) == [None]


def test_a_length_beyond_all_records_is_damage() -> None:
    length = frames.LARGEST + 1
    head = frames.FRAME.pack(length, length ^ 0xFFFFFFFF, 0)
    assert read(frame(b"a") + head + bytes(50)) == [b"a", None]


def test_pieces_are_written_at_a_position(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    assert write_pieces(fd, [b"ab", b"c"], 2) == 3
    assert (tmp_path / "f").read_bytes() == b"\0\0abc"
    os.close(fd)


def test_a_disk_that_takes_only_a_part_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: len(data) - 1)
    with pytest.raises(OSError, match="the disk is full"):
        write_pieces(0, [b"abc"], 0)


def test_a_copy_takes_the_place_of_the_journal(tmp_path: Path) -> None:
    copy = JournalCopy(tmp_path / "journal.new", 4)
    for payload in PAYLOADS:
        copy.add(payload)
    large = bytes(copying._PIECE)
    copy.add(large)
    assert copy.records == 4
    copy.flush()
    journal = os.open(tmp_path / "old", os.O_RDWR | os.O_CREAT)
    os.write(journal, b"12345678")
    assert copy.take_over(journal, 2, 6) == 6
    copy.finish(b"HEAD")
    expected = b"HEAD" + WHOLE + frame(large) + b"3456"
    assert (tmp_path / "journal").read_bytes() == expected
    assert copy.end == len(expected)
    assert not (tmp_path / "journal.new").exists()
    os.close(journal)
    os.close(copy.fd)


def test_two_processes_do_not_copy_at_once(tmp_path: Path) -> None:
    first = JournalCopy(tmp_path / "journal.new", 4)
    with pytest.raises(BlockingIOError):
        JournalCopy(tmp_path / "journal.new", 4)
    first.abandon()
    assert list(tmp_path.iterdir()) == []
    JournalCopy(tmp_path / "journal.new", 4).abandon()


def test_an_abandoned_copy_leaves_the_file_of_another_alone(tmp_path: Path) -> None:
    copy = JournalCopy(tmp_path / "journal.new", 4)
    (tmp_path / "journal.new").unlink()
    (tmp_path / "journal.new").write_bytes(b"of another")
    copy.abandon()
    assert (tmp_path / "journal.new").read_bytes() == b"of another"
