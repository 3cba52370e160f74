"""How long a server keeps idle connections: announced, observed, forgotten."""

from __future__ import annotations

import pytest

from lbproxy.http.idlelimit import MEMORY_S, IdleLimit


@pytest.mark.parametrize(
    ("header", "rest"),
    [
        (b"timeout=5", 4.0),
        (b"timeout=5, max=100", 4.0),
        (b"max=100,timeout=1", 0.8),
        (b'Timeout = "60"', 30.0),
        (b"timeout=0", 30.0),
        (b"max=7", 30.0),
        (b"timeout=never", 30.0),
        (b"mytimeout=5", 30.0),
        (b"", 30.0),
    ],
)
def test_the_header_says_it(header: bytes, rest: float) -> None:
    limit = IdleLimit()
    assert limit.announced(header)
    assert limit.rest(30.0) == pytest.approx(rest)
    assert not limit.announced(header), "nothing new"


def test_the_latest_header_counts() -> None:
    limit = IdleLimit()
    limit.announced(b"timeout=5")
    limit.announced(b"timeout=10")
    assert limit.rest(30.0) == 9.0
    limit.announced(b"max=3")
    assert limit.rest(30.0) == 30.0


def test_two_closes_after_the_same_time_say_it() -> None:
    limit = IdleLimit()
    limit.closed(5.0, 100.0)
    assert limit.rest(30.0) == 30.0
    limit.closed(5.2, 103.0)
    assert limit.rest(30.0) == 4.0
    limit.forget()
    assert limit.rest(30.0) == 30.0


@pytest.mark.parametrize(
    "closes",
    [
        [(5.0, 100.0), (5.0, 100.1), (5.0, 100.9)],  # a server that stops
        [(5.0, 100.0), (7.0, 110.0), (9.0, 120.0)],  # no timeout
        [(0.05, 100.0), (0.05, 110.0)],  # responses that end with the connection
        [(5.0, 100.0), (5.0, 100.0 + MEMORY_S)],  # too long ago
    ],
)
def test_other_closes_say_nothing(closes: list[tuple[float, float]]) -> None:
    limit = IdleLimit()
    for idle, now in closes:
        limit.closed(idle, now)
    assert limit.rest(30.0) == 30.0


def test_a_shorter_time_replaces_a_longer_one() -> None:
    limit = IdleLimit()
    for idle, now in [(9.0, 10.0), (9.1, 20.0), (2.0, 30.0), (2.0, 40.0)]:
        limit.closed(idle, now)
    assert limit.rest(30.0) == pytest.approx(1.6)


def test_the_header_counts_more_than_closes() -> None:
    limit = IdleLimit()
    limit.closed(2.0, 10.0)
    limit.closed(2.0, 20.0)
    limit.announced(b"timeout=8")
    assert limit.rest(30.0) == 7.0
