"""Purges that wait for a cache folder while it is read: a failure, another folder, and the end."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from lbproxy.cache.purge import Purge
from lbproxy.proxy import slices
from lbproxy.proxy.features.caching.disk.entries import Dropped, dump_entry
from lbproxy.proxy.features.caching.disk.journal import Journal
from lbproxy.testing import LB
from tests.support.caching import disk_config
from tests.support.purging import result_of


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder whose journal is read in two steps, one in a turn."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    journal = Journal(folder, lambda _: None, lambda _: None)
    journal.append(lambda: [dump_entry(Dropped(number)) for number in range(1000)])
    journal.close()
    monkeypatch.setattr(slices, "SLICE_S", -1.0)


@pytest.fixture
def reads(steps: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The failed reads of the journal, the second step of which fails."""
    pread, found = os.pread, []

    def failing(fd: int, size: int, offset: int) -> bytes:
        if offset < 8192:
            return pread(fd, size, offset)
        found.append(offset)
        assert len(found) < 20
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("lbproxy.proxy.features.caching.disk.journal.os.pread", failing)
    return found


def waiting(lb: Any) -> tuple[Any, list[Deferred[int]]]:
    """Return a store whose folder is being read, and two purges that wait for it."""
    store = lb.service.caches["main"].store
    found = [store.purge(Purge("all")) for _ in range(2)]
    assert not any(one.called for one in found)
    return store, found


def test_a_folder_that_fails_while_it_is_read_is_not_read_forever(
    tmp_path: Path, reads: list[int]
) -> None:
    with LB.from_config(disk_config(tmp_path / "store")) as lb:
        before = len(reads)
        _, purges = waiting(lb)
        for _ in range(5):
            lb.advance(0)
        assert len(reads) == before + 1
        for one in purges:
            with pytest.raises(OSError, match="cannot be opened"):
                result_of(one)


def test_a_waiting_purge_does_not_open_the_folder_that_is_left(tmp_path: Path, steps: None) -> None:
    with LB.from_config(disk_config(tmp_path / "first")) as lb:
        store = lb.service.caches["main"].store
        for _ in range(5):
            lb.advance(0)
        store.use_folder(tmp_path / "store", 1 << 26, True)
        waits = store.purge(Purge("all"))
        assert not waits.called
        store.use_folder(tmp_path / "other", 1 << 26, True)
        for _ in range(5):
            lb.advance(0)
        assert store.folder.path == tmp_path / "other"
        assert result_of(waits) == 0


def test_a_waiting_purge_does_not_open_a_closed_folder(tmp_path: Path, reads: list[int]) -> None:
    with LB.from_config(disk_config(tmp_path / "store")) as lb:
        store, purges = waiting(lb)
        before = len(reads)
        store.close()
        lb.advance(0)
        assert len(reads) == before
        assert [result_of(one) for one in purges] == [0, 0]


@pytest.mark.parametrize("name", ["claims", "index", "lock"])
def test_a_folder_that_cannot_be_opened_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    failed: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", failed.append)
    (tmp_path / "store" / name).mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    with LB.from_config(disk_config(tmp_path / "store")) as lb:
        store = lb.service.caches["main"].store
        with pytest.raises(OSError, match="cannot be opened"):
            result_of(store.purge(Purge("all")))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not failed
