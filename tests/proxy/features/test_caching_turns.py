"""Purges, pages, compaction and reading of a large store take many short turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.proxy import slices
from lbproxy.proxy.features.caching.disk.entries import Place, dump_entry
from lbproxy.proxy.features.caching.disk.folder import Folder
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer
from tests.support.purging import result_of

MINUTE = {"Cache-Control": "max-age=60", "Surrogate-Key": "all"}
TEXT = """
[cache main]
memory = 64m
{disk}
purge_from = 192.0.2.0/24
[frontend web]
listen = tcp:80
cache = main
backend = app
[backend app]
servers = a 10.0.0.1:80
"""
COUNT = 160


@pytest.fixture(params=["memory", "disk"])
def lb(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LoadBalancerFixture]:
    """A load balancer with :data:`COUNT` stored responses."""
    disk = f"disk = {tmp_path}/store 64m" if request.param == "disk" else ""
    with LB.from_config(TEXT.format(disk=disk)) as lb:
        lb.origin("a", "10.0.0.1:80", lambda _: Answer(200, b"old", MINUTE))
        for number in range(COUNT):
            lb.get(f"http://h/{number}")
        lb.advance(1)
        yield lb


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each slice have one step."""
    monkeypatch.setattr(slices, "SLICE_S", -1.0)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    "purge",
    [Purge("prefix", b"http://h/"), Purge("tag", b"all"), Purge("all"), Purge("host", b"h")],
)
def test_nothing_that_is_purged_is_served_between_two_slices(
    lb: LoadBalancerFixture, purge: Purge
) -> None:
    cache = lb.service.caches["main"]
    left: list[Any] = []
    late = cache.jobs.reactor.callLater
    cache.jobs.reactor.callLater = lambda *call: left.append(call) if not call[0] else late(*call)
    try:
        counted = cache.purge(purge)
        assert len(left) >= 1 and not counted.called
        for number in (0, COUNT // 2, COUNT - 1):
            assert lb.get(f"http://h/{number}").header("Age") == "", "it is fetched again"
        for number in (0, COUNT - 1):
            assert lb.get(f"http://h/{number}").header("Age") != "", "and stored"
    finally:
        del cache.jobs.reactor.callLater
    turns = 0
    while left:
        turns += 1
        _, call, *arguments = left.pop(0)
        call(*arguments)
    assert turns >= 1
    lb.advance(0)
    assert result_of(counted) == COUNT, "those that were there"
    assert lb.get("http://h/0").header("Age") != ""
    assert lb.get("http://h/1").header("Age") == ""


@pytest.mark.usefixtures("slow")
def test_a_client_that_purges_waits_for_the_end(lb: LoadBalancerFixture) -> None:
    assert lb.request("PURGE", "http://h/3", client="192.0.2.1").body == b'{"purged": 1}\n'


@pytest.mark.usefixtures("slow")
def test_a_page_of_many(lb: LoadBalancerFixture) -> None:
    counted = lb.service.caches["main"].store.page(COUNT - 2, 10)
    lb.advance(0)
    found, total = result_of(counted)
    assert total == COUNT and [entry.stored.url for entry in found] == [
        b"http://h/%d" % number for number in range(COUNT - 2, COUNT)
    ]


class Turns:
    """A reactor whose turns are measured.  Jobs in threads are not done."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, ...]] = []
        self.longest = 0.0
        self.count = 0

    def callLater(self, seconds: float, *call: Any) -> None:
        self.waiting.append(call)

    def measure(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call something that is a turn of its own."""
        start = time.process_time()
        result = call(*arguments)
        self.longest = max(self.longest, time.process_time() - start)
        self.count += 1
        return result

    def run(self) -> None:
        """Run until nothing is left."""
        while self.waiting:
            self.measure(*self.waiting.pop(0))


class Follower:
    """Knows nothing."""

    def gone(self, place: Place) -> None: ...
    def purged(self, purge: Purge, soft: bool) -> None: ...
    def reset(self) -> None: ...


@pytest.mark.long
def test_no_turn_is_long_with_a_large_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Jobs, "run", lambda *_: None)
    turns = Turns()
    jobs = Jobs(turns)

    def open_folder() -> Folder:
        return Folder(tmp_path / "store", 1 << 40, 64, jobs, Follower())

    def place(number: int) -> Place:
        url = b"http://h/%d/%d" % (number % 2, number)
        tags = frozenset([b"all"])
        return Place(b"%016d" % number, bytes(8), url, tags, frozenset(), 9, number + 1, 0, 1.0)

    filling = open_folder()
    for at in range(0, 100_000, 10_000):
        records = [dump_entry(place(number)) for number in range(at, at + 10_000)]
        filling.journal.append(lambda records=records: records)
    filling.close()
    gc.collect()
    gc.disable()
    try:
        folder = turns.measure(open_folder)
        slices.in_slices(turns, folder.load())
        turns.run()
        assert len(folder.catalog) == 100_000
        for purge, soft in ((Purge("tag", b"all"), True), (Purge("prefix", b"http://h/1"), False)):
            sweeping = turns.measure(folder.purge, purge, soft)
            assert sweeping is not None
            counted = sweeping.counted()
            turns.run()
            assert result_of(counted) == (100_000 if soft else 50_000)
    finally:
        gc.enable()
    assert folder.journal.records == 50_000, "it was compacted, as half of it was history"
    folder.close()
    again = open_folder()
    assert sum(1 for _ in again.load()) > 100
    assert len(again.catalog) == 50_000 and all(one.purged for one in again.catalog)
    again.close()
    assert turns.count > 200
    assert turns.longest < 0.1, "seconds; a slice has 0.003"


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("soft", [False, True])
def test_a_compaction_leaves_out_what_another_process_has_just_purged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soft: bool
) -> None:
    monkeypatch.setattr(Jobs, "run", lambda *_: None)
    folders: list[tuple[Turns, Folder]] = []

    def opened() -> tuple[Turns, Folder]:
        turns = Turns()
        folder = Folder(tmp_path / "store", 1 << 30, 64, Jobs(turns), Follower())
        for _ in folder.load():
            pass
        folders.append((turns, folder))
        return turns, folder

    def record(number: int) -> bytes:
        none: frozenset[bytes] = frozenset()
        url, key = b"http://h/%d" % number, b"%016d" % number
        return dump_entry(Place(key, bytes(8), url, none, none, 9, number + 1, 0, 1.0))

    purging_turns, purging = opened()
    purging.journal.append(lambda: map(record, range(COUNT)))
    turns, folder = opened()
    folder.compacting.least, folder.journal.records = 0, COUNT * 3
    folder._tend()
    assert turns.waiting, "the compaction begins in the next turn"
    purging.purge(Purge("all"), soft)
    purging_turns.run()
    started = folder.journal._started
    turns.run()
    assert folder.journal._started > started, "it was compacted"
    _, restarted = opened()
    assert len(restarted.catalog) == (COUNT if soft else 0)
    assert all(place.purged for place in restarted.catalog)
    for _, one in folders:
        one.close()
