"""In what two answers differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.http.compare import BodyNote, ComparedAnswer, differences

ALL = ("status", "headers", "body")


def answer(status: int = 200, body: bytes = b"", *headers: tuple[bytes, bytes]) -> ComparedAnswer:
    note = BodyNote()
    note.add(body)
    return ComparedAnswer(status, list(headers), size=note.size, digest=note.digest)


@pytest.mark.parametrize(
    ("one", "two", "found"),
    [
        (answer(), answer(), []),
        (answer(200), answer(500), ["status 200/500"]),
        (answer(200, b"abc"), answer(200, b"abd"), ["body"]),
        (answer(200, b"abc"), answer(200, b"abcd"), ["body 3/4 bytes"]),
        (answer(200, b"", (b"X-A", b"1")), answer(200, b"", (b"x-a", b"1")), []),
        (answer(200, b"", (b"X-A", b"1")), answer(200, b"", (b"x-a", b"2")), ["header x-a"]),
        (answer(200, b"", (b"X-A", b"1")), answer(), ["header x-a missing"]),
        (answer(), answer(200, b"", (b"X-A", b"1")), ["header x-a added"]),
        (
            answer(200, b"", (b"A", b"1"), (b"A", b"2")),
            answer(200, b"", (b"A", b"2"), (b"A", b"1")),
            ["header a"],
        ),
        (answer(200, b"", (b"Date", b"1")), answer(200, b"", (b"Date", b"2")), []),
        (
            answer(200, b"", (b"Content-Length", b"1"), (b"Via", b"x")),
            answer(200, b"", (b"Transfer-Encoding", b"chunked")),
            [],
        ),
    ],
)
def test_what_is_found(one: ComparedAnswer, two: ComparedAnswer, found: list[str]) -> None:
    assert differences(one, two, ALL, {b"date"}) == found
    if found:
        assert len(differences(one, two, (found[0].split()[0].replace("header", "headers"),))) >= 1
    assert differences(one, two, ()) == []


def test_values_are_not_told() -> None:
    one, two = answer(200, b"", (b"A", b"secret")), answer(200, b"", (b"A", b"hush"))
    assert "secret" not in str(differences(one, two, ALL))


@given(st.lists(st.binary(max_size=9)), st.integers(0, 20))
def test_a_body_in_any_pieces(pieces: list[bytes], keep: int) -> None:
    note, whole = BodyNote(keep), BodyNote(keep)
    for piece in pieces:
        note.add(piece)
    body = b"".join(pieces)
    whole.add(body)
    assert (note.size, note.digest, note.start) == (len(body), whole.digest, body[:keep])
