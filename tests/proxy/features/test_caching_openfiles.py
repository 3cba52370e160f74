"""Stored bodies in files that are kept open: read at once, and never after a change."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.proxy.features.caching.disk.openfile import open_file
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer
from tests.support.caching import disk_config, in_turn
from tests.support.descriptors import open_below
from tests.support.purging import purged

HOUR = {"Cache-Control": "max-age=3600", "ETag": '"v"'}
BODY = bytes(range(256)) * 192  # 48 KiB
OPENFILES = "lbproxy.proxy.features.caching.disk.openfiles"
MAPPING = "lbproxy.proxy.features.caching.disk.mapping"
OPENFILE = "lbproxy.proxy.features.caching.disk.openfile"

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start a load balancer with a cache in one folder, and an origin with ``answers``."""
    made = []

    def start(*answers: Answer) -> LoadBalancerFixture:
        lb = LB.from_config(disk_config(tmp_path / "store"))
        made.append(lb)
        lb.origin("a", "10.0.0.1:80", in_turn(*answers))
        return lb

    yield start
    for lb in made:
        lb.close()


@pytest.fixture
def stored(make: Make) -> LoadBalancerFixture:
    """A load balancer that found the response of ``/a`` in the folder; a fetch gives ``good``."""
    first = make(Answer(200, BODY, HOUR))
    first.get("http://h/a")
    first.advance(1)
    first.close()
    lb = make(Answer(200, b"good", HOUR))
    assert lb.get("http://h/a").body == BODY
    return lb


def folder_of(lb: LoadBalancerFixture) -> Any:
    return lb.service.caches["main"].store.folder


def the_file(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "store").glob("*/*.b")
    return found


def get(lb: LoadBalancerFixture, **headers: str) -> Response:
    return lb.get("http://h/a", headers={name.replace("_", "-"): v for name, v in headers.items()})


def test_a_hit_reads_the_open_file(
    stored: LoadBalancerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise AssertionError("a file is opened")

    assert len(folder_of(stored).open_files) == 2  # the record and the body
    monkeypatch.setattr("lbproxy.proxy.features.caching.disk.files.os.open", fail)
    for _ in range(3):
        assert get(stored).body == BODY
    assert get(stored, Range="bytes=300-1299").body == BODY[300:1300]
    assert get(stored, If_None_Match='"v"').status == 304
    assert stored.request("HEAD", "http://h/a").header("Content-Length") == str(len(BODY))


def test_a_body_that_the_kernel_does_not_have_is_read_in_a_thread(
    stored: LoadBalancerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(f"{OPENFILE}.os.preadv", fail)
    assert get(stored).body == BODY


@pytest.mark.parametrize("count", [0, 100])
def test_a_short_read_is_no_body(
    stored: LoadBalancerFixture, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(f"{OPENFILE}.os.preadv", lambda *_: count)
    entry = next(iter(stored.service.caches["main"].memory))
    assert stored.service.caches["main"].store.body_of(entry) is None


def test_a_flipped_bit_is_never_served(stored: LoadBalancerFixture, tmp_path: Path) -> None:
    path = the_file(tmp_path)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\xff")
    assert get(stored).body == b"good"


def test_a_file_that_was_only_touched_is_verified_and_served(
    stored: LoadBalancerFixture, tmp_path: Path
) -> None:
    os.utime(the_file(tmp_path), (1, 1))
    assert get(stored).body == BODY
    assert get(stored).body == BODY


@pytest.mark.parametrize("same", [True, False])
def test_a_file_that_was_replaced_is_verified(
    stored: LoadBalancerFixture, tmp_path: Path, same: bool
) -> None:
    path = the_file(tmp_path)
    other = path.with_suffix(".other")
    other.write_bytes(BODY if same else BODY[::-1])
    other.rename(path)
    assert get(stored).body == (BODY if same else b"good")


def test_a_removed_file_is_fetched_again(stored: LoadBalancerFixture, tmp_path: Path) -> None:
    the_file(tmp_path).unlink()
    assert get(stored).body == b"good"


def test_a_purge_closes_the_file(stored: LoadBalancerFixture) -> None:
    assert purged(stored.service.caches["main"], Purge("all")) == 1
    assert len(folder_of(stored).open_files) == 0
    assert get(stored).body == b"good"


def test_a_purge_of_another_process_closes_the_file(
    stored: LoadBalancerFixture, make: Make
) -> None:
    other = make(Answer(200, b"good", HOUR))
    assert purged(other.service.caches["main"], Purge("all")) == 1
    assert get(stored).body == b"good"
    assert len(folder_of(stored).open_files) == 0


def test_the_end_closes_all_files(stored: LoadBalancerFixture) -> None:
    bodies = folder_of(stored).open_files
    stored.service.caches["main"].store.close()
    assert len(bodies) == 0


def test_a_cache_that_a_reload_removes_leaves_no_open_file(make: Make, tmp_path: Path) -> None:
    first = make(Answer(200, BODY, HOUR))
    first.get("http://h/a")
    first.advance(1)
    first.close()
    lb = make(Answer(200, BODY, HOUR))
    assert get(lb).body == BODY
    assert any(name.endswith(".b") for name in open_below(tmp_path))
    cache = ref(lb.service.caches["main"])
    text = disk_config(tmp_path / "store")
    assert lb.service.reload(text.replace("cache = main\n", "")).ok
    assert get(lb).body == BODY
    lb.advance(100)
    lb._clients.clear()  # their connections know the old frontend
    lb.advance(100)
    gc.collect()
    assert cache() is None
    assert not [name for name in open_below(tmp_path) if name.endswith(".b")]


def test_few_files_are_open(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{OPENFILES}.MOST", 2)
    first = make(Answer(200, BODY, HOUR))
    for path in "abc":
        first.get(f"http://h/{path}")
    first.advance(1)
    first.close()
    lb = make(Answer(200, b"good", HOUR))
    for path in "abcabcaabb":
        assert lb.get(f"http://h/{path}").body == BODY
        assert len(folder_of(lb).open_files) <= 2


def test_all_caches_keep_no_more_than_a_share_of_the_descriptors(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(Answer(200, BODY, HOUR))
    for path in "abcd":
        first.get(f"http://h/{path}")
    first.advance(1)
    first.close()
    gc.collect()
    monkeypatch.setattr(f"{MAPPING}.getrlimit", lambda _: (16, 16))
    one, other = make(Answer(200, b"good", HOUR)), make(Answer(200, b"good", HOUR))
    for path in "abcdabcd":
        for lb in (one, other):
            assert lb.get(f"http://h/{path}").body == BODY
        assert len(folder_of(one).open_files) + len(folder_of(other).open_files) <= 4


def test_mappings_take_no_more_than_a_share_of_the_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MAPPING}.getrlimit", lambda _: (160, 160))
    files = []
    for number in range(20):
        path = tmp_path / f"{number}"
        path.write_bytes(bytes(4096))
        files.append(open_file(str(path), None, 0))
    assert len(open_below(tmp_path)) == 20
    for file in files:
        assert file.mapped(0, 4096) is not None
    assert 20 < len(open_below(tmp_path)) <= 30
    for file in files:
        file.close()
    assert not open_below(tmp_path)


def test_a_refreshed_head_keeps_the_file(make: Make, tmp_path: Path) -> None:
    first = make(Answer(200, BODY, {**HOUR, "Cache-Control": "max-age=10"}), Answer(304, b"", HOUR))
    first.get("http://h/a")
    first.advance(1)
    path = the_file(tmp_path)
    first.advance(10)
    assert first.get("http://h/a").body == BODY
    first.advance(1)
    assert the_file(tmp_path) == path
    first.close()
    lb = make(Answer(200, b"good", HOUR))
    lb.advance(12)
    assert get(lb).body == BODY


def test_a_full_disk_leaves_no_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def fail(fd: int, data: bytes) -> None:
        written.append(len(data))
        if len(written) == 2:  # the record, after the body
            raise OSError(28, "No space left on device")
        os.write(fd, data)

    lb = make(Answer(200, BODY, HOUR))
    monkeypatch.setattr("lbproxy.proxy.features.caching.disk.files.write_all", fail)
    assert get(lb).body == BODY
    lb.advance(1)
    assert len(written) == 2
    assert not list((tmp_path / "store").glob("*/*"))
    assert get(lb).body == BODY
