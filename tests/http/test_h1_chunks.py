"""Chunked bodies in many small pieces, and chunk extensions: one result, at a bounded cost."""

from __future__ import annotations

import itertools
import re
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbproxy.http.chunkline import without_extensions
from lbproxy.http.h1_body import BadMessage, ChunkedBody
from lbproxy.http.message import End, Limits

GRAMMAR = re.compile(
    rb"([0-9A-Fa-f]+)"
    rb"(?:[ \t]*+;[ \t]*+[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
    rb"(?:[ \t]*=[ \t]*+(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
    rb'|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"))?)+'
)
"""RFC 9112 §7.1.1 as a regular expression."""

LIMITS = Limits()
PIECES = [b"1", b"0f", b";", b"=", b'"', b"\\", b" ", b"\t", b"a", b"\x7f", b"\x80", b"\x01", b","]


def decoded(raw: bytes, cuts: list[int], room: int | None = None) -> tuple[bytes, bool, str]:
    """The data, whether it ended, and the fault, of ``raw`` cut at ``cuts``."""
    body = ChunkedBody(LIMITS, room)
    data, fault = b"", ""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(raw)}), len(raw)]
    for start, stop in itertools.pairwise(edges):
        events: list[Any] = []
        try:
            body.feed(raw[start:stop], 0, events)
        except BadMessage as refusal:
            fault = str(refusal)
        data += b"".join(event for event in events if type(event) is bytes)
        if fault or any(type(event) is End for event in events):
            break
    return data, body.done, fault


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
@example(b'1;a="\\\x80"')
def test_extensions_follow_the_grammar(line: bytes) -> None:
    match = GRAMMAR.fullmatch(line)
    if match is not None:
        assert without_extensions(line) == len(match[1])
    elif not re.fullmatch(rb"[0-9A-Fa-f]*", line):  # lines without extensions are read elsewhere
        assert without_extensions(line) == 0


chunks = st.lists(
    st.tuples(st.sampled_from([1, 2, 15, 16, 17, 255, 256, 300]), st.sampled_from([b"", b";a=b"])),
    max_size=8,
)


@given(chunks, st.lists(st.integers(1, 900), max_size=4), st.sampled_from([None, 20, 256, 600]))
def test_any_cut_gives_the_same(
    sizes: list[tuple[int, bytes]], cuts: list[int], room: int | None
) -> None:
    raw = b"".join(b"%x%b\r\n%b\r\n" % (size, more, b"x" * size) for size, more in sizes)
    raw += b"0\r\n\r\n"
    total = sum(size for size, _ in sizes)
    data, done, fault = decoded(raw, cuts, room)
    if room is None or total <= room:
        assert (data, done, fault) == (b"x" * total, True, "")
    else:
        kept = 0
        for size, _ in sizes:
            if kept + size > room:
                break
            kept += size
        assert (data, fault) == (b"x" * kept, "chunked body exceeds the limit")


@pytest.mark.parametrize(
    "raw", [b"1\r\nab\r\n", b"1\r\na\n\r", b"1\na\r\n", b"g\r\n", b"-1\r\na\r\n"]
)
def test_what_is_wrong_stays_wrong(raw: bytes) -> None:
    for cut in range(len(raw)):
        assert decoded(b"1\r\nx\r\n" + raw, [cut + 6])[2]


@pytest.mark.interpreted
@pytest.mark.parametrize("extension", [b"", b";a"])
def test_small_chunks_cost_few_calls(extension: bytes) -> None:
    """One object for all of them; a chunk without an extension takes one call."""
    count = 2000
    raw = (b"1" + extension + b"\r\na\r\n") * count
    body = ChunkedBody(LIMITS, None)
    events: list[Any] = []
    calls = 0

    def counted(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(counted)
    try:
        body.feed(raw, 0, events)
    finally:
        sys.setprofile(None)
    assert events == [b"a" * count]
    assert calls < (1.1 if not extension else 16) * count
