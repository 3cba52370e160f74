"""The cache on disk: restarts, damage, large bodies, a full disk, and a folder of two processes."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from lbproxy.cache.control import NONE
from lbproxy.cache.purge import Purge
from lbproxy.cache.stored import Stored
from lbproxy.proxy.features.caching.disk import failures
from lbproxy.proxy.features.caching.disk.entries import Place, dump_entry
from lbproxy.proxy.features.caching.disk.folder import Folder
from lbproxy.proxy.features.caching.disk.frames import frame
from lbproxy.proxy.features.caching.disk.writing import indexed
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.proxy.features.caching.shown import stats_of
from lbproxy.testing import LB, LoadBalancerFixture, NoResponse
from lbproxy.testing.origin import Answer
from tests.support.caching import cache_of, config_with, in_turn
from tests.support.purging import purged

HOUR = {"Cache-Control": "max-age=3600", "Surrogate-Key": "news"}
LARGE = bytes(range(256)) * 4096  # 1 MiB

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start a load balancer with a cache in one folder."""
    made = []

    def start(cache: str = "", size: str = "256m") -> LoadBalancerFixture:
        lb = LB.from_config(config_with(f"disk = {tmp_path / 'store'} {size}\n{cache}"))
        made.append(lb)
        return lb

    yield start
    for lb in made:
        lb.close()


def serve(lb: LoadBalancerFixture, *answers: Any) -> Any:
    """An origin that gives ``answers`` in turn, the last one again and again."""
    return lb.origin("a", "10.0.0.1:80", in_turn(*answers))


def files(folder: Path, kind: str) -> list[Path]:
    """The files of one kind."""
    return sorted((folder / "store").glob(f"*/*.{kind}"))


@pytest.mark.parametrize("body", [b"hello", LARGE], ids=["small", "large"])
def test_a_restart_keeps_what_is_stored(make: Make, tmp_path: Path, body: bytes) -> None:
    first = make()
    serve(first, Answer(200, body, HOUR))
    assert first.get("http://h/a").body == body
    first.advance(1)
    assert [path.stat().st_mode & 0o777 for path in files(tmp_path, "*")] == [0o600] * (
        2 if body is LARGE else 1
    )
    first.close()
    second = make()
    origin = serve(second, Answer(200, b"new", HOUR))
    found = second.get("http://h/a")
    assert (found.body, len(origin.requests)) == (body, 0)
    assert found.header("Cache-Status").startswith("main; hit")
    part = second.get("http://h/a", headers={"Range": "bytes=1-3,5-"})
    assert part.status == 206
    assert second.request("HEAD", "http://h/a").header("Content-Length") == str(len(body))
    assert not origin.requests


def test_a_large_body_is_in_no_memory(make: Make, tmp_path: Path) -> None:
    lb = make("max_object = 8m")
    origin = serve(lb, Answer(200, LARGE, HOUR))
    assert lb.get("http://h/a").body == LARGE
    lb.advance(1)
    assert cache_of(lb).memory.bytes < 16_384
    assert cache_of(lb).memory.reserved == 0
    assert lb.get("http://h/a").body == LARGE
    assert len(origin.requests) == 1
    assert len(files(tmp_path, "b")) == 1
    assert not files(tmp_path, "t")


@pytest.mark.parametrize("size", [1_000, 40_000, 100_000, 250_000, 300_000])
def test_little_memory_keeps_no_body_from_the_disk(make: Make, tmp_path: Path, size: int) -> None:
    lb = make("memory = 64k\nmax_object = 1m")
    origin = serve(lb, Answer(200, LARGE[:size], HOUR))
    for _ in range(3):
        assert lb.get("http://h/a").body == LARGE[:size]
        lb.advance(1)
        assert cache_of(lb).memory.reserved == 0
        assert cache_of(lb).memory.bytes < 65_536
    assert len(origin.requests) == 1
    assert not files(tmp_path, "t")


@pytest.mark.parametrize("kind", ["r", "b"])
@pytest.mark.parametrize("running", [True, False])
def test_a_flipped_bit_is_never_served(
    make: Make, tmp_path: Path, kind: str, running: bool
) -> None:
    lb = make()
    origin = serve(lb, Answer(200, LARGE, HOUR), Answer(200, b"good", HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    assert lb.get("http://h/a").body == LARGE
    asked = 2
    if not running:
        lb.close()
    (path,) = files(tmp_path, kind)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    if not running:
        lb, asked = make(), 1
        origin = serve(lb, Answer(200, b"good", HOUR))
    elif kind == "r":  # the head is in memory
        assert lb.get("http://h/a").body == LARGE
        return
    assert lb.get("http://h/a").body == b"good"
    assert len(origin.requests) == asked
    lb.advance(1)
    assert path not in files(tmp_path, kind)


def test_a_bit_flipped_while_the_body_is_written_is_never_served(
    make: Make, tmp_path: Path
) -> None:
    lb = make("max_object = 8m")
    serve(lb, Answer(200, LARGE * 4, HOUR))
    client = lb.connect("web")
    client.pause()
    slow = lb.begin("GET", "http://h/a", via=client)
    lb.advance(1)
    (path,) = [*files(tmp_path, "t"), *files(tmp_path, "b")]
    with path.open("r+b") as file:
        file.seek(len(LARGE) * 2)
        file.write(b"?" * 256)
    client.resume()
    with pytest.raises(NoResponse):
        slow.wait()
    assert len(LARGE) < len(client.received) <= 200 + 2 * len(LARGE)


def test_who_joins_a_fetch_whose_file_is_damaged_gets_its_response_from_a_server(
    make: Make, tmp_path: Path
) -> None:
    lb = make("max_object = 8m")
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4194304\r\n\r\n"
    origin = serve(lb, Answer(raw=head + LARGE), Answer(200, LARGE, HOUR))
    first = lb.begin("GET", "http://h/a")
    lb.advance(1)
    (path,) = files(tmp_path, "t")
    with path.open("r+b") as file:
        file.write(b"?")
    failures._quiet._seen.clear()  # of other tests in this second
    with capturedLogs() as logs:
        second = lb.get("http://h/a")
    assert (second.status, second.body, len(origin.requests)) == (200, LARGE, 2)
    assert f"has a damaged file {path.stem}.b" in " ".join(map(str, map(formatEvent, logs)))
    assert len(first.client.received) > len(LARGE), "it has what it received before"
    assert lb.get("http://h/a").body == LARGE


def test_a_file_that_was_only_touched_is_served_again(make: Make, tmp_path: Path) -> None:
    lb = make()
    origin = serve(lb, Answer(200, LARGE, HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    lb.get("http://h/a")
    (path,) = files(tmp_path, "b")
    os.utime(path, (1, 1))
    assert lb.get("http://h/a").body == LARGE
    assert len(origin.requests) == 1


@pytest.mark.parametrize("body", [b"hello", LARGE], ids=["small", "large"])
def test_a_304_refreshes_the_head_on_disk(make: Make, tmp_path: Path, body: bytes) -> None:
    lb = make()
    tag = {"ETag": '"v"', "Cache-Control": "max-age=10"}
    serve(lb, Answer(200, body, tag), Answer(304, b"", {"ETag": '"v"', "X-New": "1", **HOUR}))
    lb.get("http://h/a")
    lb.advance(11)
    assert lb.get("http://h/a").body == body
    lb.advance(1)
    assert len(files(tmp_path, "r")) == 1
    lb.close()
    again = make()
    origin = serve(again, Answer(200, b"new", HOUR))
    again.advance(12)
    found = again.get("http://h/a")
    assert (found.body, found.header("X-New"), len(origin.requests)) == (body, "1", 0)


@pytest.mark.parametrize("wanted", [Purge("tag", b"news"), Purge("url", b"http://h/a")])
def test_a_purge_is_durable(make: Make, tmp_path: Path, wanted: Purge) -> None:
    lb = make()
    serve(lb, Answer(200, b"old", HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    assert purged(cache_of(lb), wanted) == 1
    lb.advance(1)
    assert not files(tmp_path, "r")
    again = make()  # the first one is still there, as after a kill
    serve(again, Answer(200, b"new", HOUR))
    assert again.get("http://h/a").body == b"new"


def test_two_processes_have_one_cache(make: Make) -> None:
    one, two = make(), make()
    serve(one, Answer(200, b"first", HOUR))
    other = serve(two, Answer(200, b"second", HOUR))
    assert one.get("http://h/a").body == b"first"
    one.advance(1)
    assert two.get("http://h/a").body == b"first"
    assert not other.requests
    purged(cache_of(two), Purge("url", b"http://h/a"))
    assert two.get("http://h/a").body == b"second"
    two.advance(1)
    assert one.get("http://h/a").body == b"second"
    assert purged(cache_of(one), Purge("all"), soft=True) == 1
    assert "soft purge" in two.get("http://h/a").header("Cache-Status")


def test_the_folder_stays_within_its_size(make: Make, tmp_path: Path) -> None:
    lb = make(size="1m")
    serve(lb, Answer(200, bytes(50_000), HOUR))
    for number in range(40):
        lb.get(f"http://h/{number}")
        lb.advance(0.1)
    used = sum(path.stat().st_blocks * 512 for path in files(tmp_path, "*"))
    assert 500_000 < used <= 1 << 20
    assert stats_of(cache_of(lb))["evicted"] > 0
    assert stats_of(cache_of(lb))["disk_bytes"] <= 1 << 20


def test_a_folder_that_cannot_be_used_costs_no_request(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").write_text("a file")
    lb = make()
    serve(lb, Answer(200, b"hello", HOUR))
    assert [lb.get("http://h/a").body for _ in range(3)] == [b"hello"] * 3
    (tmp_path / "store").unlink()
    lb.advance(11)
    lb.get("http://h/b")
    lb.advance(1)
    assert len(files(tmp_path, "r")) == 1


@pytest.mark.parametrize("body", [b"hello", LARGE], ids=["small", "large"])
def test_a_full_disk_costs_no_request(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    lb = make()
    serve(lb, Answer(200, body, HOUR))
    with monkeypatch.context() as patch:
        patch.setattr("lbproxy.proxy.features.caching.disk.files.os.write", full)
        for _ in range(2):
            assert lb.get("http://h/a").body == body
            lb.advance(1)
    assert not files(tmp_path, "*")
    assert lb.get("http://h/b").body == body


def test_a_removed_folder_is_made_again(make: Make, tmp_path: Path) -> None:
    lb = make()
    serve(lb, Answer(200, b"hello", HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    remove_all(tmp_path / "store")
    assert lb.get("http://h/a").body == b"hello"
    assert lb.get("http://h/b").body == b"hello"
    assert lb.get("http://h/b").body == b"hello"


def test_what_a_killed_process_left_is_swept(make: Make, tmp_path: Path) -> None:
    lb = make()
    serve(lb, Answer(200, b"hello", HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    (kept,) = files(tmp_path, "r")
    for name in ("ab12345678901234.r", "ab12345678901235.b", "ab12345678901236.t"):
        path = tmp_path / "store" / "ab" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (1, 1))
    lb.close()
    again = make()
    serve(again, Answer(200, b"new", HOUR))
    again.advance(1)
    assert files(tmp_path, "*") == [kept]
    assert again.get("http://h/a").body == b"hello"


def remove_all(folder: Path) -> None:
    """Remove a folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.mark.parametrize("body", [b"hello", LARGE], ids=["small", "large"])
def test_a_removed_folder_is_used_again_after_a_while(
    make: Make, tmp_path: Path, body: bytes
) -> None:
    lb = make()
    serve(lb, Answer(200, body, HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    remove_all(tmp_path / "store")
    lb.get("http://h/b")
    lb.advance(11)
    lb.get("http://h/c")
    lb.advance(1)
    assert len(files(tmp_path, "r")) == 1


def test_a_purge_that_is_not_recorded_holds_here(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    lb = make()
    serve(lb, Answer(200, b"old", HOUR), Answer(200, b"new", HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    with monkeypatch.context() as patch:
        for name in ("os.pwrite", "os.ftruncate", "pathlib.Path.unlink"):
            patch.setattr(name, fail)
        with pytest.raises(OSError, match="Read-only"):
            purged(cache_of(lb), Purge("all"))
        assert lb.get("http://h/a").body == b"new"
    lb.advance(11)
    assert lb.get("http://h/a").body == b"new"


def test_a_purge_without_the_folder_is_an_error(make: Make, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    lb = make()
    with pytest.raises(OSError, match="cannot be opened"):
        purged(cache_of(lb), Purge("all"))
    (tmp_path / "store").unlink()
    lb.advance(11)
    assert purged(cache_of(lb), Purge("all")) == 0


def test_too_many_open_files_cost_a_hit_and_no_contents(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    lb = make()
    origin = serve(lb, Answer(200, LARGE, HOUR), Answer(200, b"new", {}))
    lb.get("http://h/a")
    lb.advance(1)
    with monkeypatch.context() as patch:
        patch.setattr("lbproxy.proxy.features.caching.disk.files.os.open", fail)
        assert lb.get("http://h/a").body == b"new"
    assert lb.get("http://h/a").body == LARGE
    assert len(origin.requests) == 2


def test_purges_alone_do_not_make_the_journal_grow(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproxy.proxy.features.caching.disk.compacting._LEAST", 100)
    lb = make()
    serve(lb, Answer(200, b"hello", {}))
    for _ in range(300):
        lb.request("POST", "http://h/a")
    assert (tmp_path / "store" / "index").stat().st_size < 100 * 60


def test_flushes_do_not_queue(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lb = make()
    cache = cache_of(lb)
    work: list[Any] = []
    monkeypatch.setattr(cache.jobs, "run", lambda *job: work.append(job))
    for _ in range(50):
        purged(cache, Purge("all"))
    assert len(work) == 1
    work[0][1](None)
    assert len(work) == 2, "once more for those that came meanwhile"
    work[1][1](None)
    assert len(work) == 2


def test_a_record_of_the_journal_that_is_none(make: Make, tmp_path: Path) -> None:
    lb = make()
    serve(lb, Answer(200, b"one", HOUR), Answer(200, b"two", HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    with (tmp_path / "store" / "index").open("ab") as file:
        file.write(frame(b"P\xff\xff"))
    assert lb.get("http://h/a").body == b"two"
    assert lb.get("http://h/a").body == b"two"


def test_an_older_response_under_the_name_of_a_newer_is_damage(make: Make, tmp_path: Path) -> None:
    lb = make()
    serve(lb, Answer(200, b"old", {"Cache-Control": "max-age=1"}), Answer(200, b"new", HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    (before,) = files(tmp_path, "r")
    old = before.read_bytes()
    lb.advance(1)
    lb.get("http://h/a")
    lb.advance(1)
    (after,) = files(tmp_path, "r")
    after.write_bytes(old)
    lb.close()
    again = make()
    serve(again, Answer(200, b"newest", HOUR))
    assert again.get("http://h/a").body == b"newest"


def test_a_link_is_no_file_of_the_store(make: Make, tmp_path: Path) -> None:
    lb = make()
    serve(lb, Answer(200, b"old", HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    lb.close()
    (path,) = files(tmp_path, "r")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    again = make()
    serve(again, Answer(200, b"new", HOUR))
    assert again.get("http://h/a").body == b"new"


def test_one_read_serves_all_who_wait_for_it(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    serve(first, Answer(200, b"hello", HOUR))
    first.get("http://h/a")
    first.advance(1)
    first.close()
    lb = make()
    origin = serve(lb, Answer(200, b"new", HOUR))
    cache = cache_of(lb)
    work: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(cache.jobs, "run", lambda *job: work.append(job))
        found = [lb.begin("GET", "http://h/a") for _ in range(5)]
    ((read, done),) = work
    done(read())
    assert [one.wait().body for one in found] == [b"hello"] * 5
    assert not origin.requests


def test_a_disk_that_hangs_does_not_fill_memory(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproxy.proxy.features.caching.disk.writer.MOST_WRITING", 20 * 4096)
    lb = make()
    serve(lb, Answer(200, b"", HOUR))
    monkeypatch.setattr(cache_of(lb).jobs, "run", lambda *job: None)
    for number in range(30):
        assert lb.get(f"http://h/{number}").status == 200
    assert len(cache_of(lb).store.held) == 20
    assert cache_of(lb).memory.counts.refused == 10


def test_a_purge_ends_joining_also_for_requests_that_are_not_looked_up(make: Make) -> None:
    one, two = make(), make("refresh = header X-Refresh")
    serve(one, Answer(200, b"x", HOUR))
    bodies = [b"old", b"new"]
    two.origin("a", "10.0.0.1:80", lambda _: Answer(200, bodies.pop(0), HOUR, after=1.0))
    before = two.begin("GET", "http://h/a")
    purged(cache_of(one), Purge("all"))
    after = two.begin("GET", "http://h/a", headers={"X-Refresh": "1"})
    assert (before.wait().body, after.wait().body) == (b"old", b"new")
    two.advance(1)
    assert two.get("http://h/a").body == b"new"


@pytest.mark.parametrize("body", [b"old", LARGE], ids=["memory", "file"])
def test_a_purge_of_another_process_overtakes_a_fetch_at_a_quiet_one(
    make: Make, body: bytes
) -> None:
    """No request has made the process learn of the purge before the response is complete."""
    one, two = make(), make()
    one.origin("a", "10.0.0.1:80", lambda _: Answer(200, body, HOUR, after=1.0))
    serve(two, Answer(200, b"new", HOUR))
    before = one.begin("GET", "http://h/a")
    one.advance(0.5)
    purged(cache_of(two), Purge("all"))
    assert before.wait().body == body
    one.advance(1)
    assert two.get("http://h/a").body == b"new"
    two.advance(1)
    assert one.get("http://h/a").body == b"new"


def test_a_disk_smaller_than_the_folder_may_be_holds_what_is_new(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def small(fd: int, data: bytes) -> int:
        used = sum(path.stat().st_size for path in files(tmp_path, "*"))
        if used + len(data) > 400_000:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr("lbproxy.proxy.features.caching.disk.files.os.write", small)
    lb = make("memory = 1m")
    serve(lb, Answer(200, bytes(20_000), HOUR))
    for number in range(100):
        lb.get(f"http://h/{number}")
        lb.advance(0.1)
    urls = {place.url for place in cache_of(lb).store.folder.catalog}
    assert len(urls) > 10
    assert sum(b"http://h/%d" % number in urls for number in range(90, 100)) > 4


class Nobody:
    """A follower of a folder that keeps nothing of it."""

    def gone(self, place: Place) -> None:
        """See FolderFollower."""

    def purged(self, purge: Purge, soft: bool) -> None:
        """See FolderFollower."""

    def reset(self) -> None:
        """See FolderFollower."""


@pytest.mark.parametrize("tags", [0, 1, 4])
def test_the_index_takes_what_is_counted(tmp_path: Path, tags: int) -> None:
    """1,400 are measured, as the tables of the index have just grown then."""
    folder = Folder(tmp_path, 2**40, 64, Jobs(None), Nobody())
    records, counted = [], 0
    for number in range(1, 1401):
        url, names = b"http://h/%d" % number, [b"%d-%d" % (number, tag) for tag in range(tags)]
        stored = Stored(url, 200, b"", [], NONE, 0, 0, 0, True, "", length=1, tags=frozenset(names))
        counted += indexed(stored)
        digests = number.to_bytes(16, "big"), number.to_bytes(8, "big")
        place = Place(
            *digests,
            url,
            stored.tags,
            stored.groups,
            indexed(stored),
            number << 40,
            number << 41,
            1.5,
        )
        records.append(dump_entry(place))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for record in records:
        folder._apply(record)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    folder.close()
    assert folder.catalog.bytes == counted
    assert used <= counted <= 2 * used
