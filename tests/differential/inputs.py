"""Inputs for both engines: the corpora of the tests, generated ones, and any split of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.differential.outcome import OPERATIONS, Input
from tests.http.corpus.requests import REQUESTS
from tests.http.corpus.responses import RESPONSES
from tests.http.h1_strategies import sent_requests, sent_responses
from tests.http.h1_support import pieces
from tests.http.test_h1_fuzz import damaged, mixtures
from tests.http.test_scan import SAMPLES

__all__ = ["inputs"]

T = TypeVar("T")

MANY = 1000
"""From so many generated inputs on, all others are complete too."""

GET = b"GET /a?b=c HTTP/1.1\r\nHost: A.example\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: x\r\n\r\nhi"


def examples(strategy: st.SearchStrategy[T], number: int) -> list[T]:
    """The same ``number`` of examples of a strategy each time, or all if it has fewer."""
    found: list[T] = []

    @settings(max_examples=number, database=None, derandomize=True, deadline=None)
    @given(strategy)
    def collect(example: T) -> None:
        found.append(example)

    collect()
    return found


@st.composite
def _split(draw: st.DrawFn, raws: st.SearchStrategy[bytes]) -> list[bytes]:
    raw = draw(raws)
    if draw(st.booleans()):
        return list(pieces(raw, draw(st.lists(st.integers(0, len(raw)), max_size=6))))
    return [raw]


def _bytewise(raw: bytes) -> list[bytes]:
    return list(pieces(raw, range(len(raw))))


def _corpora() -> Iterator[Input]:
    for _, raw, _ in REQUESTS:
        for parts in ([raw], _bytewise(raw)) if len(raw) < 2000 else ([raw],):
            yield "requests", parts, 2
        yield "requests", [raw], 0
    for _, method, raw, _ in RESPONSES:
        for parts in ([raw], _bytewise(raw)) if len(raw) < 2000 else ([raw],):
            yield "responses", parts, method, 2


def _every_byte(samples: list[bytes], values: Sequence[int]) -> Iterator[Input]:
    """Every byte of ``values`` at every place."""
    for sample in samples:
        for at in range(len(sample)):
            for byte in values:
                raw = GET + sample[:at] + bytes((byte,)) + sample[at + 1 :]
                yield "requests", [raw], 0


def _big() -> Iterator[Input]:
    """Heads of 64 KB and of 1,000 fields."""
    value = b"v" * 64 * 1024
    for filler in (b"x", b"\xff", b" ", b"\t", b'"', b"\\"):
        yield "requests", [GET + b"X: " + value.replace(b"v", filler) + b"\r\n\r\n"], 3
    many = b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(1000))
    cookies = b"Cookie: " + b"; ".join(b"c%d=%d" % (n, n) for n in range(4000))
    for lines in (many, many * 2, b"Cookie: a=b\r\n" * 1000, cookies + b"\r\n"):
        yield "requests", [GET + lines + b"\r\n"], 3
        yield "edits", GET + lines[:9000] + b"\r\n", [("set", b"X-7", b"y"), ("drop", b"a", b"")]


def _generated(number: int) -> Iterator[Input]:
    requests = st.one_of(
        mixtures, damaged([row[1] for row in REQUESTS]), sent_requests.map(lambda sent: sent.raw)
    )
    for parts, limits in examples(st.tuples(_split(requests), st.integers(0, 2)), number):
        yield "requests", parts, limits
    responses = st.one_of(
        mixtures, damaged([row[2] for row in RESPONSES]), sent_responses.map(lambda sent: sent.raw)
    )
    methods = st.sampled_from([b"GET", b"HEAD", b"CONNECT"])
    for parts, method in examples(st.tuples(_split(responses), methods), number):
        yield "responses", parts, method, 1


def _edited(number: int) -> Iterator[Input]:
    names = st.sampled_from(
        [b"Host", b"X", b"x-7", b"Cookie", b"a", b"LB", b"Via", b"TE", b"X_Forwarded_For", b"\xe9"]
    )
    values = st.one_of(
        names, st.binary(max_size=12), st.sampled_from([b"/x", b"a=b; c=d", b"\r\n"])
    )
    steps = st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), names, values), max_size=6)
    lines = st.lists(
        st.sampled_from(
            [b"Cookie: a=b; LB=1; c=d", b"Cookie: c", b"X: 1", b"x-7: 2", b"TE: trailers",
             b"Via: 1.1 b", b"Connection: x-7", b"X-Forwarded-For: 192.0.2.1", b"Content-Length: 0"]
        ),
        max_size=70,
    )  # fmt: skip
    for chosen, script in examples(st.tuples(lines, steps), number):
        yield "edits", GET + b"".join(line + b"\r\n" for line in chosen) + b"\r\n", script


def _traffic(number: int) -> Iterator[Input]:
    requests = st.one_of(
        damaged([row[1] for row in REQUESTS]),
        sent_requests.map(lambda sent: sent.raw),
        st.sampled_from(
            [GET + b"Cookie: a=b; LB=x; c=d\r\nUser-Agent: \"q\"\r\nReferer: \xe9\r\n\r\n",
             GET + b"X: pick-me\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n" + GET + b"\r\n",
             GET.replace(b"/a", b"/assets/x") + b"\r\n",
             GET.replace(b"/a", b"/redirect/x") + b"\r\n"]
        ),
    )  # fmt: skip
    responses = st.one_of(
        st.just(OK),
        st.just(OK.replace(b"ETag", b"Set-Cookie: LB=1\r\nETag")),
        damaged([row[2] for row in RESPONSES]),
        sent_responses.map(lambda sent: sent.raw),
    )
    pairs = st.tuples(st.integers(0, 1), _split(requests), _split(responses))
    for configuration, asked, answered in examples(pairs, number):
        yield "traffic", configuration, asked, answered


def inputs(number: int) -> list[Input]:
    """All inputs; ``number`` generated ones of each kind."""
    if number >= MANY:
        damaged_lines = _every_byte(SAMPLES, range(256))
    else:
        damaged_lines = _every_byte(SAMPLES[1:2], b'\0\t\n\r "#,-:;=A_z\x7f\x80\xff')
    found: list[Any] = [*_corpora(), *damaged_lines, *_big()]
    return [*found, *_generated(number), *_edited(number), *_traffic(number)]
