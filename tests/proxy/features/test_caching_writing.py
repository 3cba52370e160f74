"""Responses that wait for the disk: found by look-ups, purged, replaced, and written in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from lbproxy.cache.purge import Purge
from lbproxy.proxy.features.caching.disk.entries import Place
from lbproxy.proxy.features.caching.disk.writing import portions
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer, Request
from tests.support.caching import config_with
from tests.support.purging import purged

HOUR = {"Cache-Control": "max-age=3600"}
SHORT = {"Cache-Control": "max-age=60", "ETag": '"1"'}
URL = "http://h/a"
DISK = "lbproxy.proxy.features.caching.disk"


class Node:
    """A process with a cache, whose disk does nothing until :meth:`write`.

    ``answers``: of the origin, the last one again and again. ``asked``: number of requests.
    """

    def __init__(self, text: str, patch: pytest.MonkeyPatch) -> None:
        self.lb: LoadBalancerFixture = LB.from_config(text)
        self.cache: Any = self.lb.service.caches["main"]
        self.answers: list[Answer] = [Answer(200, b"x", HOUR)]
        self.asked = 0
        self.jobs: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self.lb.origin("a", "10.0.0.1:80", self._answer)
        self.lb.advance(0)
        patch.setattr(f"{DISK}.writing.BATCH_SECONDS", 60.0)
        patch.setattr(self.cache.jobs, "run", lambda *job: self.jobs.append(job))

    def _answer(self, request: Request) -> Answer:
        self.asked += 1
        return self.answers.pop(0) if self.answers[1:] else self.answers[0]

    def get(self, url: str = URL, method: str = "GET", **headers: str) -> Any:
        """Return the response to a request."""
        return self.lb.request(
            method, url, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    def evict(self) -> None:
        """Let memory evict everything."""
        memory = self.cache.memory
        limit = memory.limit
        memory.resize(0)
        memory.resize(limit)

    def write(self, most: int = 1000) -> int:
        """Let the disk work until nothing waits, or ``most`` jobs; return the number of jobs."""
        count = 0
        while self.jobs and count < most:
            work, done = self.jobs.pop(0)
            count += 1
            result: Any
            try:
                result = work()
            except Exception as error:
                result = error
            done(result)
        return count


Make = Callable[..., Node]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Start a process; all share one folder."""
    made: list[Node] = []

    def start(cache: str = "", size: str = "256m", memory: str = "1m") -> Node:
        folder = tmp_path / "store"
        text = config_with(f"disk = {folder} {size}\nmemory = {memory}\nmax_object = 512k\n{cache}")
        made.append(Node(text, monkeypatch))
        return made[-1]

    yield start
    for one in made:
        one.lb.close()


def test_a_waiting_response_is_a_hit_after_memory_has_evicted_it(make: Make) -> None:
    node = make(memory="64k")
    node.answers = [Answer(200, bytes([number]) * 10_000, HOUR) for number in range(20)]
    for number in range(20):
        node.get(f"http://h/{number}")
    assert len(node.cache.memory) < 8
    for number in range(20):
        found = node.get(f"http://h/{number}")
        assert found.body == bytes([number]) * 10_000
        assert found.header("Cache-Status").startswith("main; hit")
        part = node.get(f"http://h/{number}", Range="bytes=1-2")
        assert (part.status, part.body) == (206, bytes([number]) * 2)
    assert node.asked == 20
    node.write()
    assert not node.cache.store.held
    for number in range(20):
        assert node.get(f"http://h/{number}").body == bytes([number]) * 10_000
    assert node.asked == 20


def test_a_waiting_response_too_large_for_memory_is_a_hit(make: Make) -> None:
    node = make(memory="64k")
    node.answers = [Answer(200, b"y" * 100_000, HOUR), Answer(200, b"new", HOUR)]
    assert node.get().body == b"y" * 100_000
    assert node.get().body == b"y" * 100_000
    node.write()
    opened = node.lb.begin("GET", URL)
    node.write()
    assert opened.wait().body == b"y" * 100_000
    assert node.asked == 1


def test_a_request_between_the_end_of_a_large_body_and_its_record_gets_it(make: Make) -> None:
    node = make()
    node.answers = [Answer(200, b"y" * 500_000, HOUR), Answer(200, b"new", HOUR)]
    assert len(node.get().body) == 500_000
    while node.jobs:
        node.write(most=1)
        opened = node.lb.begin("GET", URL)
        node.lb.advance(0.1)
        assert node.asked == 1
    assert len(opened.wait().body) == 500_000


def test_variants_that_wait_are_all_found(make: Make) -> None:
    node = make()
    head = {**HOUR, "Vary": "X-Kind"}
    node.answers = [Answer(200, b"one", head), Answer(200, b"two", head), Answer(200, b"", HOUR)]
    for kind in ("one", "two"):
        assert node.get(X_Kind=kind).body == kind.encode()
        node.evict()
    for kind in ("one", "two", "one"):
        assert node.get(X_Kind=kind).body == kind.encode()
    node.write()
    for kind in ("one", "two"):
        assert node.get(X_Kind=kind).body == kind.encode()
    assert node.asked == 2


@pytest.mark.parametrize("other", [False, True], ids=["own", "of another process"])
def test_a_purged_waiting_response_is_neither_found_nor_stored(make: Make, other: bool) -> None:
    node, second = make(), make()
    node.get()
    node.evict()
    node.answers = [Answer(200, b"new", HOUR)]
    purged((second if other else node).cache, Purge("url", b"http://h/a"))
    assert node.get().body == b"new"
    node.evict()
    node.write()
    assert node.get().body == b"new"
    opened = second.lb.begin("GET", URL)
    second.write()
    assert opened.wait().body == b"new"
    assert (node.asked, second.asked) == (2, 0)


def test_a_purge_while_the_files_are_written_stores_nothing(make: Make, tmp_path: Path) -> None:
    node = make()
    node.get()
    work, done = node.jobs.pop()
    result = work()
    purged(node.cache, Purge("all"))
    done(result)
    node.write()
    assert not list((tmp_path / "store").glob("*/*.r"))
    assert len(node.cache.store.folder.catalog) == 0


def test_a_softly_purged_waiting_response_is_stale_here_and_after_a_restart(make: Make) -> None:
    node = make("grace = 1h")
    node.get()
    node.evict()
    purged(node.cache, Purge("all"), soft=True)
    node.answers = [Answer(500)]
    found = node.get()
    assert (found.body, node.asked) == (b"x", 2)
    node.write()
    node.evict()
    second = make("grace = 1h")
    second.answers = [Answer(500)]
    opened = second.lb.begin("GET", URL)
    second.write()
    assert (opened.wait().body, second.asked) == (b"x", 1)


def test_what_a_purged_response_should_have_replaced_does_not_come_back(make: Make) -> None:
    node = make("client_no_cache = obey")
    node.answers = [
        Answer(200, b"old", {**HOUR, "Surrogate-Key": "a"}),
        Answer(200, b"new", {**HOUR, "Surrogate-Key": "b"}),
        Answer(200, b"newest", HOUR),
    ]
    node.get()
    node.write()
    assert node.get(Cache_Control="no-cache").body == b"new"
    purged(node.cache, Purge("tag", b"b"))
    node.write()
    assert node.get().body == b"newest"


def test_a_replaced_waiting_response_is_found_no_more(make: Make) -> None:
    node = make("client_no_cache = obey")
    node.answers = [Answer(200, b"old", HOUR), Answer(200, b"new", HOUR)]
    node.get()
    node.evict()
    assert node.get(Cache_Control="no-cache").body == b"new"
    node.evict()
    assert node.get().body == b"new"
    node.write()
    assert node.get().body == b"new"
    assert node.asked == 2
    assert len(node.cache.store.folder.catalog) == 1


@pytest.mark.parametrize("evicted", [False, True])
def test_a_waiting_response_is_refreshed_by_a_304(make: Make, evicted: bool) -> None:
    node = make()
    head = {"Cache-Control": "max-age=60", "ETag": '"1"'}
    node.answers = [Answer(200, b"x", head), Answer(304, b"", head), Answer(200, b"new", head)]
    node.get()
    if evicted:
        node.evict()
    node.lb.advance(61)
    assert node.get().body == b"x"
    node.evict()
    assert node.get().body == b"x"
    node.write()
    second = make()
    second.lb.advance(61)
    opened = second.lb.begin("GET", URL)
    second.write()
    assert opened.wait().header("Cache-Status").startswith("main; hit")
    assert (node.asked, second.asked) == (2, 0)
    assert len(node.cache.store.folder.catalog) == 1


def test_a_response_that_memory_does_not_have_is_not_linked_and_can_be_refreshed(
    make: Make,
) -> None:
    node = make()
    head = {"Cache-Control": "max-age=60", "ETag": '"1"'}
    node.answers = [Answer(200, b"x", head), Answer(304, b"", head, after=5.0)]
    node.get()
    node.evict()
    node.lb.advance(61)
    opened = node.lb.begin("GET", URL)
    node.write()  # while the server validates it
    (place,) = node.cache.store.folder.catalog
    assert place.shown is None
    assert not node.cache.memory.popular.top()
    node.lb.advance(5)
    assert opened.wait().body == b"x"
    node.write()
    assert node.get().body == b"x"
    assert node.asked == 2


def test_a_waiting_response_is_made_stale_by_a_head(make: Make) -> None:
    node = make("client_no_cache = obey")
    node.answers = [
        Answer(200, b"x", {**HOUR, "ETag": '"1"'}),
        Answer(200, b"", {**HOUR, "ETag": '"2"'}),
        Answer(200, b"new", {**HOUR, "ETag": '"2"'}),
    ]
    node.get()
    node.evict()
    node.get(method="HEAD", Cache_Control="no-cache")
    assert node.get().body == b"new"
    node.write()
    assert node.get().body == b"new"


def test_a_removed_waiting_response_does_not_return(make: Make) -> None:
    node = make()
    node.get()
    node.evict()
    (entry,) = node.cache.store.select(next(iter(node.cache.store.held)))
    node.cache.store.remove(entry)
    node.answers = [Answer(200, b"new", HOUR)]
    assert node.get().body == b"new"
    node.write()
    assert node.get().body == b"new"
    assert node.asked == 2


def test_an_earlier_request_does_not_replace_a_waiting_response(make: Make) -> None:
    node = make("client_no_cache = obey")
    node.answers = [Answer(200, b"early", HOUR, after=5.0), Answer(200, b"late", HOUR)]
    early = node.lb.begin("GET", URL)
    node.lb.advance(1)
    assert node.get(Cache_Control="no-cache").body == b"late"
    node.evict()
    node.lb.advance(5)
    assert early.wait().body == b"early"
    assert node.get().body == b"late"
    node.write()
    assert node.get().body == b"late"


def test_a_waiting_response_does_not_replace_a_later_one_of_another_process(make: Make) -> None:
    node, second = make(), make("client_no_cache = obey")
    node.answers, second.answers = [Answer(200, b"early", HOUR)], [Answer(200, b"late", HOUR)]
    node.get()
    second.lb.advance(5)
    node.lb.advance(5)
    assert second.get(Cache_Control="no-cache").body == b"late"
    second.write()
    node.write()
    for one in (node, second):
        one.evict()
        opened = one.lb.begin("GET", URL)
        one.write()
        assert opened.wait().body == b"late"
    assert len(node.cache.store.folder.catalog) == 1


def test_a_waiting_response_is_shown(make: Make) -> None:
    node = make()
    node.get()
    node.evict()
    shown = node.cache.store.by_url(b"http://h/a")
    assert [entry.body for entry in shown] == [b"x"]
    node.write()
    assert len(node.cache.store.by_url(b"http://h/a")) == 1


@pytest.mark.parametrize("late", ["before", "after"])
def test_an_outdated_304_replaces_no_later_response(make: Make, late: str) -> None:
    node, second = make(), make("client_no_cache = obey")
    node.answers = [Answer(200, b"old", SHORT), Answer(304, b"", SHORT, after=5.0)]
    second.answers = [Answer(200, b"new", HOUR)]
    node.get()
    node.write()
    for one in (node, second):
        one.lb.advance(61)
    validated = node.lb.begin("GET", URL)
    for one in (node, second):
        one.lb.advance(1)
    replaced = second.lb.begin("GET", URL, headers={"Cache-Control": "no-cache"})
    second.write(most=1)
    if late == "before":  # the 304 arrives
        second.write()
    for one in (node, second):
        one.lb.advance(5)
    assert validated.wait().body == b"old"
    second.write()
    assert replaced.wait().body == b"new"
    for _ in range(2):
        opened = node.lb.begin("GET", URL)
        node.write()
        assert opened.wait().body == b"new"
    opened = second.lb.begin("GET", URL)
    second.write()
    assert opened.wait().body == b"new"
    assert (node.asked, second.asked) == (2, 1)


def test_an_outdated_304_does_not_stop_a_later_response_from_being_written(make: Make) -> None:
    node = make("client_no_cache = obey")
    node.answers = [
        Answer(200, b"old", SHORT),
        Answer(304, b"", SHORT, after=5.0),
        Answer(200, b"new", HOUR),
    ]
    node.get()
    node.write()
    node.lb.advance(61)
    validated = node.lb.begin("GET", URL)
    node.lb.advance(1)
    assert node.get(Cache_Control="no-cache").body == b"new"
    node.lb.advance(5)
    assert validated.wait().body == b"old"
    node.write()
    for _ in range(2):
        opened = node.lb.begin("GET", URL)
        node.write()
        assert opened.wait().body == b"new"
        node.evict()


def test_who_waits_for_an_outdated_304_gets_what_was_stored_meanwhile(make: Make) -> None:
    node = make("client_no_cache = obey")
    other = Answer(304, b"", {**SHORT, "ETag": '"2"'}, after=5.0)
    node.answers = [Answer(200, b"old", SHORT), other, Answer(200, b"new", HOUR), Answer(500)]
    node.get()
    node.lb.advance(61)
    validated = node.lb.begin("GET", URL)
    node.lb.advance(1)
    assert node.get(Cache_Control="no-cache").body == b"new"
    node.lb.advance(5)
    assert validated.wait().body == b"new"
    assert (node.get().body, node.asked) == (b"new", 3)


# -- bodies in files of their own -----------------------------------------------------------------

APART = bytes(range(256)) * 400


def refreshing(node: Node, times: int = 1, loaded: bool = False) -> Place:
    """Let 304 responses refresh a stored response whose body is in a file of its own; they wait for
    the disk. Return its place. ``loaded``: memory has only the head.
    """
    node.answers = [Answer(200, APART, SHORT), Answer(304, b"", SHORT)]
    node.get()
    node.write()
    (place,) = node.cache.store.folder.catalog
    assert place.body
    if loaded:
        node.evict()
        opened = node.lb.begin("GET", URL)
        node.write()
        assert opened.wait().body == APART
    for _ in range(times):
        node.lb.advance(61)
        assert node.get().body == APART
    assert node.cache.store.held
    found: Place = place
    return found


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_refreshed_response_keeps_its_body_while_it_waits(
    make: Make, tmp_path: Path, loaded: bool, times: int
) -> None:
    node = make()
    place = refreshing(node, times, loaded)
    node.cache.store.folder.drop([place])
    node.write()
    node.evict()
    opened = node.lb.begin("GET", URL)
    node.write()
    assert opened.wait().body == APART
    assert node.asked == 1 + times
    assert len(list((tmp_path / "store").glob("*/*.[rb]"))) == 2
    node.cache.store.folder.drop(list(node.cache.store.folder.catalog))
    node.write()
    assert not list((tmp_path / "store").glob("*/*.[rb]"))


def test_a_refreshed_response_that_is_not_written_leaves_no_body(
    make: Make, tmp_path: Path
) -> None:
    node = make()
    place = refreshing(node)
    node.cache.store.folder.drop([place])
    purged(node.cache, Purge("all"))
    node.write()
    assert not list((tmp_path / "store").glob("*/*.[rb]"))


def test_a_refreshed_response_is_not_published_without_its_body(make: Make, tmp_path: Path) -> None:
    node, second = make(), make()
    refreshing(node)
    folder = second.cache.store.folder
    folder.sync()
    folder.drop(list(folder.catalog))
    second.write()  # removes the files
    node.answers = [Answer(200, b"new", SHORT)]
    with capturedLogs() as logs:
        node.write()
        node.evict()
        assert len(node.cache.store.folder.catalog) == 0
        opened = node.lb.begin("GET", URL)
        node.write()
        assert opened.wait().body == b"new"
    assert not [one for one in logs if "damaged" in (formatEvent(one) or "")]
    assert len(list((tmp_path / "store").glob("*/*.[rb]"))) == 1


# -- variants -------------------------------------------------------------------------------------


def test_waiting_variants_are_bounded(make: Make) -> None:
    node = make("variants = 4")
    node.answers = [
        Answer(200, b"%d" % number, {**HOUR, "Vary": "X-Kind"}) for number in range(20)
    ] + [Answer(200, b"new", {**HOUR, "Vary": "X-Kind"})]
    for number in range(20):
        node.get(X_Kind=str(number))
        (waiting,) = node.cache.store.held.values()
        assert len(waiting) == min(4, number + 1)
    node.evict()
    for number in range(16, 20):
        assert node.get(X_Kind=str(number)).body == b"%d" % number
    assert node.get(X_Kind="15").body == b"new"
    node.write()
    assert len(node.cache.store.folder.catalog) == 4


def test_a_variant_that_waits_no_more_does_not_come_back(make: Make) -> None:
    node = make("variants = 2\nclient_no_cache = obey")
    head = {**HOUR, "Vary": "X-Kind"}
    node.answers = [Answer(200, body, head) for body in (b"old", b"new", b"1", b"2", b"newest")]
    node.get(X_Kind="a")
    node.write()
    node.get(X_Kind="a", Cache_Control="no-cache")
    node.get(X_Kind="1")
    node.get(X_Kind="2")  # displaces the new one of a, which waits
    node.write()
    node.evict()
    assert node.get(X_Kind="a").body == b"newest"


# -- batches --------------------------------------------------------------------------------------


def failing(match: bytes) -> Callable[[int, Any], int]:
    """Return an ``os.write`` that fails for data with ``match``."""
    write = os.write

    def found(fd: int, data: Any) -> int:
        if match in bytes(data):
            raise OSError(5, "Input/output error")
        return write(fd, data)

    return found


def test_a_write_fails_alone(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = make()
    node.answers = [Answer(200, b"body %d." % number, HOUR) for number in range(10)]
    for number in range(10):
        node.get(f"http://h/{number}")
    node.evict()
    monkeypatch.setattr(f"{DISK}.files.os.write", failing(b"body 5."))
    size = (tmp_path / "store/index").stat().st_size
    node.write()
    assert (tmp_path / "store/index").stat().st_size > size
    assert len(node.cache.store.folder.catalog) == 9
    assert len(list((tmp_path / "store").glob("*/*"))) == 9
    node.answers = [Answer(200, b"new", HOUR)]
    for number in range(10):
        wanted = b"new" if number == 5 else b"body %d." % number
        assert node.get(f"http://h/{number}").body == wanted
    assert node.asked == 11


def test_what_an_unpublished_response_should_have_replaced_does_not_come_back(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make("client_no_cache = obey")
    node.answers = [Answer(200, body, HOUR) for body in (b"old", b"new", b"newest")]
    node.get()
    node.write()
    assert node.get(Cache_Control="no-cache").body == b"new"

    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"{DISK}.journal.os.pwrite", full)
        node.write()
    node.evict()
    opened = node.lb.begin("GET", URL)
    node.write()
    assert opened.wait().body == b"newest"


def test_a_batch_takes_one_job_and_one_change_of_the_index(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make()
    for number in range(42):
        node.get(f"http://h/{number}")
    assert len(node.jobs) == 2  # began at once, with one response each
    pwrite, writes = os.pwrite, []

    def counted(fd: int, data: bytes, at: int) -> int:
        writes.append(len(data))
        return pwrite(fd, data, at)

    monkeypatch.setattr(f"{DISK}.journal.os.pwrite", counted)
    assert node.write() == 3
    assert len(writes) == 3
    assert len(node.cache.store.folder.catalog) == 42


def test_a_slow_disk_is_given_one_response_at_a_time(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make()
    monkeypatch.setattr(f"{DISK}.writing.BATCH_SECONDS", -1.0)
    for number in range(20):
        node.get(f"http://h/{number}")
    assert node.write() == 20
    assert len(node.cache.store.folder.catalog) == 20
    assert not node.cache.store.held


def test_a_batch_keeps_to_the_size_of_the_folder(make: Make, tmp_path: Path) -> None:
    node = make(size="1m")
    node.answers = [Answer(200, b"y" * 20_000, HOUR)]
    for number in range(100):
        node.get(f"http://h/{number}")
    node.write()
    catalog = node.cache.store.folder.catalog
    assert 0.8 * 2**20 < catalog.bytes <= 2**20
    assert len(list((tmp_path / "store").glob("*/*.r"))) == len(catalog)


def test_a_batch_keeps_to_the_number_of_variants(make: Make) -> None:
    node = make("variants = 4")
    node.answers = [Answer(200, b"y", {**HOUR, "Vary": "X-Kind"})]
    for number in range(20):
        node.get(X_Kind=str(number))
    node.write()
    assert len(node.cache.store.folder.catalog) == 4


def place(key: bytes, size: int, record: int) -> Place:
    """A place with little else."""
    none: frozenset[bytes] = frozenset()
    return Place(key, b"", b"", none, none, size, record, 0, 0.0)


def test_portions_have_one_response_per_key_and_a_quarter_of_the_limit() -> None:
    places = [place(b"a", 10, 1), place(b"b", 10, 2), place(b"a", 10, 3), place(b"c", 99, 4)]
    found = [[one.record for one in part] for part in portions([*places, place(b"d", 1, 5)], 80)]
    assert found == [[1, 2], [3], [4], [5]]
    assert list(portions([], 80)) == []
