"""Hits of responses that are only in files: read without a thread, never after damage."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from lbproxy.cache.purge import Purge
from lbproxy.proxy.features.caching.disk.filehits import (
    CHECK_RECORD,
    CHECK_SEALED,
    PROMOTE,
    PROMOTE_EARLY,
    SEALED,
)
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from tests.support.purging import purged

TEXT = """
[cache main]
memory = {memory}
max_object = {max_object}
disk = {folder} 64m
[frontend web]
listen = tcp:80
access_log = access.log json
cache = main
backend = app
[backend app]
servers = a 10.0.0.1:80
"""
HOUR = {"Cache-Control": "public, max-age=3600", "ETag": '"v"'}
LARGE = bytes(range(256)) * 192  # 48 KiB: a file of its own
OPENFILES = "lbproxy.proxy.features.caching.disk.openfiles"
OPENFILE = "lbproxy.proxy.features.caching.disk.openfile"

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start a load balancer with a cache in one folder; its origin answers ``answer``."""
    made = []

    def start(answer: Any, memory: str = "64k", max_object: str = "60k") -> LoadBalancerFixture:
        words = {"memory": memory, "max_object": max_object}
        lb = LB.from_config(TEXT.format(folder=tmp_path / "store", **words))
        made.append(lb)
        lb.origin("a", "10.0.0.1:80", answer)
        return lb

    yield start
    for lb in made:
        lb.close()


def evict(lb: LoadBalancerFixture) -> None:
    """Remove everything from memory."""
    memory = lb.service.caches["main"].memory
    for entry in list(memory):
        memory.discard(entry)


def stored(make: Make, answer: Answer, *paths: str, memory: str = "64k") -> LoadBalancerFixture:
    """Return a load balancer with the response of ``paths`` in files alone; no request is sent to
    the origin afterwards.
    """
    left = [answer] * len(paths or "a")
    lb = make(lambda _: left.pop(), memory)
    for path in paths or ("a",):
        assert lb.get(f"http://h/{path}").status == 200
    lb.advance(1)
    evict(lb)
    return lb


def loads(lb: LoadBalancerFixture) -> int:
    """Number of times that a thread has read a file for a request."""
    found: int = lb.service.caches["main"].counters.loads
    return found


def is_hit(response: Response) -> bool:
    return response.header("Cache-Status").startswith("main; hit")


def records(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "store").glob("*/*.r"))


def test_a_small_response_is_served_without_a_thread(make: Make) -> None:
    lb = stored(make, Answer(200, b"small", HOUR))
    for _ in range(PROMOTE_EARLY):
        found = lb.get("http://h/a")
        assert (found.body, is_hit(found)) == (b"small", True)
        evict(lb)
    assert loads(lb) == 0


def test_a_large_body_is_verified_in_a_thread_once(make: Make) -> None:
    lb = stored(make, Answer(200, LARGE, HOUR))
    for _ in range(PROMOTE_EARLY):
        assert lb.get("http://h/a").body == LARGE
        evict(lb)
    assert loads(lb) == 1


def test_a_popular_response_returns_to_memory(make: Make) -> None:
    lb = stored(make, Answer(200, b"small", HOUR), memory="1m")
    for _ in range(PROMOTE_EARLY + 1):
        assert lb.get("http://h/a").body == b"small"
    assert loads(lb) == 1
    assert len(lb.service.caches["main"].memory) == 1
    for _ in range(10):
        assert lb.get("http://h/a").body == b"small"
    assert loads(lb) == 1


def test_full_memory_takes_back_only_what_is_often_used(make: Make) -> None:
    lb = stored(make, Answer(200, b"x" * 8000, HOUR), *(f"{number}" for number in range(20)))
    memory = lb.service.caches["main"].memory
    for number in range(7):
        for _ in range(PROMOTE_EARLY + 1):
            lb.get(f"http://h/{number}")
    before = loads(lb)
    assert memory.bytes + memory.limit // 16 > memory.limit
    for _ in range(PROMOTE):
        lb.get("http://h/19")
    assert loads(lb) == before
    lb.get("http://h/19")
    assert loads(lb) == before + 1
    lb.get("http://h/19")
    assert loads(lb) == before + 1


def test_hits_from_files_are_counted_and_logged(make: Make) -> None:
    lb = stored(make, Answer(200, b"small", HOUR))
    lb.log_lines()
    lb.get("http://h/a")
    counters = lb.service.caches["main"].counters
    assert (counters.hits, counters.bytes) == (1, 5)
    assert '"cache":"hit"' in lb.log_lines()[-1].replace(" ", "")


def noticed(lb: LoadBalancerFixture) -> None:
    """Ask until the file is compared: every answer is right or new."""
    for _ in range(CHECK_SEALED):
        evict(lb)
        body = lb.get("http://h/a").body
        if body == b"fetched":
            return
        assert body == b"right" * 20
    raise AssertionError("the change was not noticed")


@pytest.mark.parametrize("where", [0, 8, 12, 60, 120, 200, 400, -40, -1])
def test_a_flipped_bit_is_never_served(make: Make, tmp_path: Path, where: int) -> None:
    answers = [Answer(200, b"right" * 20, HOUR), Answer(200, b"fetched", HOUR)]
    lb = make(lambda _: answers.pop(0))
    lb.get("http://h/a")
    lb.advance(1)
    evict(lb)
    (path,) = records(tmp_path)
    if where % 2:  # also after it was verified
        assert lb.get("http://h/a").body == b"right" * 20
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    noticed(lb)


@pytest.mark.parametrize("size", [1, 100, SEALED, SEALED + 1])
@pytest.mark.parametrize("hits", [1, 2, 5])
def test_a_flipped_bit_of_a_body_is_noticed_at_once(
    make: Make, tmp_path: Path, size: int, hits: int
) -> None:
    body = os.urandom(size)
    answers = [Answer(200, body, HOUR), Answer(200, b"fetched", HOUR)]
    lb = make(lambda _: answers.pop(0), max_object="60k")
    lb.get("http://h/a")
    lb.advance(1)
    for _ in range(hits):
        evict(lb)
        assert lb.get("http://h/a").body == body
    evict(lb)
    (path,) = records(tmp_path)
    data = bytearray(path.read_bytes())
    data[-33 - size // 2] ^= 4
    stamp = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert lb.get("http://h/a").body == b"fetched"


@pytest.mark.parametrize("change", ["cut", "grown", "removed", "replaced", "empty"])
@pytest.mark.parametrize("known", [False, True])
def test_another_file_is_never_served(make: Make, tmp_path: Path, change: str, known: bool) -> None:
    answers = [Answer(200, b"right" * 20, HOUR), Answer(200, b"fetched", HOUR)]
    lb = make(lambda _: answers.pop(0))
    lb.get("http://h/a")
    lb.advance(1)
    evict(lb)
    if known:
        assert lb.get("http://h/a").body == b"right" * 20
    (path,) = records(tmp_path)
    data = path.read_bytes()
    if change == "removed":
        path.unlink()
    elif change == "replaced":
        other = path.with_suffix(".other")
        other.write_bytes(data.replace(b"right", b"wrong"))
        other.rename(path)
    else:
        path.write_bytes({"cut": data[:-1], "grown": data + b"x", "empty": b""}[change])
    noticed(lb)


@pytest.mark.parametrize("change", ["bytes", "replaced", "removed", "touched"])
@pytest.mark.parametrize("size", [len(LARGE), 4 * len(LARGE)], ids=["read", "sent from the file"])
def test_a_changed_record_beside_its_body_is_noticed_soon(
    make: Make, tmp_path: Path, change: str, size: int
) -> None:
    body = bytes(size)
    answers = [Answer(200, body, HOUR), Answer(200, b"fetched", HOUR)]
    lb = make(lambda _: answers.pop(0), max_object="256k", memory="1m")
    lb.get("http://h/a")
    lb.advance(1)
    cache: Any = lb.service.caches["main"]
    for _ in range(2):  # the second hit uses the head that the first has kept
        evict(lb)
        assert lb.get("http://h/a").body == body
    evict(lb)
    cache.memory.resize(0)  # it is not copied to memory
    (path,) = records(tmp_path)
    data = path.read_bytes()
    if change == "removed":
        path.unlink()
    elif change == "replaced":
        path.with_suffix(".other").write_bytes(data.replace(b"max-age=3600", b"max-age=9999"))
        path.with_suffix(".other").rename(path)
    elif change == "touched":
        os.utime(path, (1, 1))
    else:
        path.write_bytes(data.replace(b"max-age=3600", b"max-age=9999"))
    with capturedLogs() as logs:
        found = [lb.get("http://h/a") for _ in range(CHECK_RECORD + 1)]
    assert all(one.header("Cache-Control") == HOUR["Cache-Control"] for one in found)
    assert (found[-1].body == b"fetched") is (change != "touched")
    damaged = [one for one in logs if "damaged" in (formatEvent(one) or "")]
    assert len(damaged) == (change != "touched")


def held(lb: LoadBalancerFixture) -> Any:
    return lb.service.caches["main"].store.folder.open_files


def test_few_heads_are_kept_with_the_files(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{OPENFILES}.MOST_KEPT", 5000)
    lb = stored(make, Answer(200, b"small", HOUR), *"abcdef")
    for path in "abcdefabcdef":
        assert lb.get(f"http://h/{path}").body == b"small"
    assert loads(lb) == 0
    assert 1 < len(held(lb)._known) < 5
    assert held(lb)._kept <= 5000
    assert purged(lb.service.caches["main"], Purge("all")) == 6
    assert (held(lb)._kept, len(held(lb)._known)) == (0, 0)


def test_heads_count_what_they_take(make: Make) -> None:
    paths = [f"{number}/{'path' * 10}" for number in range(60)]
    lb = stored(make, Answer(200, b"x" * 2000, {**HOUR, "Vary": "X-A"}), *paths)
    tracemalloc.start()
    try:
        for path in paths:
            lb.get(f"http://h/{path}", headers={"Cookie": "a=1"})
        gc.collect()
        used, counted = tracemalloc.get_traced_memory()[0], held(lb)._kept
        assert len(held(lb)._known) == len(paths)
        held(lb).close_all()
        gc.collect()
        used -= tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert counted / 2 < used < counted


def test_a_variant_that_comes_later_is_told_apart(make: Make) -> None:
    def handle(request: Request) -> Answer:
        return Answer(200, request.header("X-A").encode(), {**HOUR, "Vary": "X-A"})

    lb = make(handle)
    for value in ("1", "2", "3"):
        lb.get("http://h/a", headers={"X-A": value})
        lb.advance(1)
        evict(lb)
        for known in range(1, int(value) + 1):
            found = lb.get("http://h/a", headers={"X-A": str(known)})
            assert (found.body.decode(), is_hit(found)) == (str(known), True)
            evict(lb)


def test_a_touched_file_is_verified_again(make: Make, tmp_path: Path) -> None:
    lb = stored(make, Answer(200, b"small", HOUR))
    assert lb.get("http://h/a").body == b"small"
    (path,) = records(tmp_path)
    os.utime(path, (1, 1))
    for _ in range(2):
        evict(lb)
        assert lb.get("http://h/a").body == b"small"


def test_what_the_kernel_does_not_have_is_read_in_a_thread(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    lb = stored(make, Answer(200, b"small", HOUR))
    monkeypatch.setattr(f"{OPENFILE}.os.preadv", fail)
    assert lb.get("http://h/a").body == b"small"
    assert loads(lb) == 1


def test_variants_are_chosen_among_files_and_memory(make: Make) -> None:
    def handle(request: Request) -> Answer:
        body = request.header("Accept-Encoding") or "none"
        return Answer(200, body.encode(), {**HOUR, "Vary": "Accept-Encoding"})

    lb = make(handle, "1m")
    asked: list[dict[str, str]] = [{}, {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "br"}]
    for headers in asked:
        lb.get("http://h/a", headers=headers)
    lb.advance(1)
    memory = lb.service.caches["main"].memory
    for gone in range(4):
        for entry in list(memory)[:gone]:
            memory.discard(entry)
        for headers in asked:
            found = lb.get("http://h/a", headers=headers)
            assert found.body.decode() == headers.get("Accept-Encoding", "none")
            assert is_hit(found)


@pytest.mark.parametrize("soft", [False, True])
def test_a_purge_holds_for_files(make: Make, soft: bool) -> None:
    bodies = [b"old", b"new"]
    lb = make(
        lambda _: Answer(200, bodies.pop(0), {"Cache-Control": "max-age=60, must-revalidate"})
    )
    lb.get("http://h/a")
    lb.advance(1)
    evict(lb)
    assert lb.get("http://h/a").body == b"old"
    assert purged(lb.service.caches["main"], Purge("url", b"http://h/a"), soft) == 1
    assert lb.get("http://h/a").body == b"new"


def test_a_purge_of_another_process_holds(make: Make) -> None:
    bodies = [b"old", b"new"]
    lb = make(lambda _: Answer(200, bodies.pop(0), HOUR))
    other = make(Answer(200, b"other", HOUR))
    lb.get("http://h/a")
    lb.advance(1)
    evict(lb)
    assert lb.get("http://h/a").body == b"old"
    assert purged(other.service.caches["main"], Purge("all")) == 1
    assert lb.get("http://h/a").body == b"new"


def test_a_response_that_is_being_replaced_is_not_served(make: Make) -> None:
    answers = [
        Answer(200, b"old", {"Cache-Control": "max-age=10"}),
        Answer(200, b"new", {"Cache-Control": "max-age=10"}),
    ]
    lb = make(lambda _: answers.pop(0))
    lb.get("http://h/a")
    lb.advance(1)
    evict(lb)
    lb.advance(20)
    for _ in range(3):
        assert lb.get("http://h/a").body == b"new"
        evict(lb)
        lb.advance(1)


def test_keys_of_one_digest_are_told_apart(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("filehits.key_digest", "loader.key_digest", "writing.key_digest"):
        monkeypatch.setattr(
            f"lbproxy.proxy.features.caching.disk.{name}", lambda _: b"digest".ljust(16)
        )
    lb = make(lambda request: Answer(200, request.path.encode(), HOUR))
    for path in ("/a", "/b"):
        lb.get(f"http://h{path}")
        lb.advance(1)
        evict(lb)
    for path in ("/a", "/b", "/c"):
        assert lb.get(f"http://h{path}").body == path.encode()


@pytest.mark.parametrize("at", [0, 8, 9, 30, 40, 60, 100])
def test_a_damaged_index_is_logged(make: Make, tmp_path: Path, at: int) -> None:
    answers = [Answer(200, b"right", HOUR), Answer(200, b"fetched", HOUR)]
    lb = make(lambda _: answers.pop(0))
    lb.get("http://h/a")
    lb.advance(1)
    lb.close()
    path = tmp_path / "store" / "index"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with capturedLogs() as events:
        again = make(lambda _: answers.pop(0))
        body = again.get("http://h/a").body
    texts = [formatEvent(event) for event in events]
    lost = any("its index was replaced or is damaged" in text for text in texts)
    assert lost == (at < 8 or at >= 32)  # between them are numbers for a compaction
    assert body == (b"fetched" if lost else b"right")
