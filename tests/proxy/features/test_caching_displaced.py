"""A response that cannot be stored after all: what it should have replaced is not served either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer
from tests.support.caching import cache_of, config_with, in_turn

URL = "http://h/a"
HOUR = {"Cache-Control": "max-age=3600"}
OLD, NEWEST = Answer(200, b"old", HOUR), Answer(200, b"newest", HOUR)
LARGE = b"y" * 700_000
FILES = "lbproxy.proxy.features.caching.disk.files"


@pytest.fixture(params=["memory = 16m", "disk = {} 64m"], ids=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found: str = request.param.format(tmp_path / "store")
    return found


@pytest.fixture
def started() -> Iterator[Any]:
    made: list[LoadBalancerFixture] = []

    def start(cache: str, *answers: Any) -> LoadBalancerFixture:
        text = config_with(f"client_no_cache = obey\nrefresh = header X-New\n{cache}")
        made.append(LB.from_config(text))
        made[-1].origin("a", "10.0.0.1:80", in_turn(*answers))
        return made[-1]

    yield start
    for lb in made:
        lb.close()


def chunked(body: bytes, **headers: str) -> Answer:
    """A response without a stated length."""
    lines = {**HOUR, **headers, "Transfer-Encoding": "chunked"}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    raw = b"HTTP/1.1 200 OK\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (head.encode(), len(body), body)
    return Answer(raw=raw)


def anew(lb: LoadBalancerFixture, **headers: str) -> Response:
    """The response to a request that the cache must not answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lb.get(URL, headers={"Cache-Control": "no-cache", **named})


def evict(lb: LoadBalancerFixture) -> None:
    memory = cache_of(lb).memory
    for entry in list(memory):
        memory.discard(entry)


def test_a_body_that_becomes_too_large(started: Any, store: str) -> None:
    lb = started(f"{store}\nmax_object = 100k", OLD, chunked(LARGE), NEWEST)
    lb.get(URL)
    assert anew(lb).body == LARGE
    assert lb.get(URL).body == b"newest"


def test_a_body_that_becomes_too_large_for_another_selection(started: Any, store: str) -> None:
    lb = started(f"{store}\nmax_object = 100k", OLD, chunked(LARGE, Vary="X-Kind"), NEWEST)
    lb.get(URL)
    assert anew(lb).body == LARGE
    assert lb.get(URL).body == b"newest"


def test_a_body_without_room_in_memory(started: Any) -> None:
    lb = started("memory = 2m\nmax_object = 1m", OLD, chunked(LARGE), NEWEST)
    lb.get(URL)
    assert cache_of(lb).memory.reserve(800_000)  # for other bodies
    assert anew(lb).body == LARGE
    assert lb.get(URL).body == b"newest"


def test_tags_that_take_more_than_the_store(started: Any, store: str) -> None:
    tags = " ".join(f"t{number}" for number in range(2100))  # 512 bytes each
    tagged = Answer(200, b"y" * 100_000, {**HOUR, "Surrogate-Key": tags})
    small = store.replace("16m", "1m").replace("64m", "1m")
    lb = started(f"{small}\nmax_object = 200k", OLD, tagged, NEWEST)
    lb.get(URL)
    evict(lb) if "disk" in store else None
    assert anew(lb).body == tagged.body
    evict(lb) if "disk" in store else None
    assert lb.get(URL).body == b"newest"


def test_a_large_body_that_the_disk_refuses(
    started: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lb = started(f"disk = {tmp_path} 64m\nmax_object = 1m", OLD, Answer(200, LARGE, HOUR), NEWEST)
    lb.get(URL)
    evict(lb)

    def full(fd: int, data: Any) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(f"{FILES}.os.write", full)
        assert anew(lb).body == LARGE
    assert lb.get(URL).body == b"newest"


def test_a_refusal_removes_what_memory_no_longer_has(started: Any, tmp_path: Path) -> None:
    refused = Answer(200, b"private", {"Cache-Control": "no-store"})
    lb = started(f"disk = {tmp_path} 64m", OLD, refused, NEWEST)
    lb.get(URL)
    evict(lb)
    assert lb.get(URL, headers={"X-New": "1"}).body == b"private"
    assert lb.get(URL).body == b"newest"


def test_a_part_of_another_representation(started: Any) -> None:
    def part(tag: str, body: bytes) -> Answer:
        shown = {**HOUR, "ETag": tag, "Content-Range": f"bytes 0-{len(body) - 1}/800000"}
        return Answer(206, body, shown)

    answers = part('"1"', b"old"), part('"2"', LARGE), NEWEST
    lb = started("memory = 2m\nmax_object = 1m", *answers)
    lb.get(URL, headers={"Range": "bytes=0-2"})
    assert cache_of(lb).memory.reserve(800_000)  # for other bodies
    assert lb.get(URL, headers={"Range": "bytes=0-699999"}).body == LARGE
    assert lb.get(URL, headers={"Range": "bytes=0-2"}).body == b"newest"
