"""The memcached check against a scripted one, and against peers that are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.probes.memcached import MemcachedOptions, MemcachedProbe
from tests.probes.plays import Line, Peer, listening

STATS = b"STAT pid 1\r\nSTAT version 1.6.18\r\nSTAT curr_items 42\r\nEND\r\n"


def server(version: bytes = b"VERSION 1.6.18\r\n", stats: bytes = STATS) -> Any:
    def lines(peer: Peer) -> Line:
        while True:
            line = b""
            while not line.endswith(b"\r\n"):
                line += yield 1
            peer.write({b"version\r\n": version, b"stats\r\n": stats}.get(line, b""))

    return lines


def check(lines: Any, **options: Any) -> Any:
    world = listening(lines)
    result = world.check(MemcachedProbe(MemcachedOptions(**options), world.env))
    assert world.all_closed()
    return result


def test_version() -> None:
    result = check(server())
    assert (result.ok, result.note) == (True, "version 1.6.18")


@pytest.mark.parametrize(
    ("items", "ok", "note"),
    [(42, True, "version 1.6.18, 42 items"), (43, False, "holds 42 items, wanted 43")],
)
def test_items(items: int, ok: bool, note: str) -> None:
    result = check(server(), items=items)
    assert (result.ok, result.note) == (ok, note)


@pytest.mark.parametrize(
    "version", [b"ERROR\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"VERSION \r\n", b"x" * 5000]
)
def test_wrong_servers(version: bytes) -> None:
    result = check(server(version))
    assert not result.ok and len(result.note) < 200


@pytest.mark.parametrize(
    "stats",
    [b"END\r\n", b"STAT curr_items x\r\nEND\r\n", b"SERVER_ERROR\r\n", b"STAT a 1\r\n" * 2000],
)
def test_statistics_that_make_no_sense(stats: bytes) -> None:
    assert check(server(stats=stats), items=1).note.startswith("its statistics make no sense")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_anything_at_all_is_an_answer(data: bytes) -> None:
    def lines(peer: Peer) -> Line:
        yield 9
        peer.write(b"VERSION 1\r\n" + data)
        peer.close()

    assert not check(lines, items=1).ok
