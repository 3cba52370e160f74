"""Lines of text have the fields that the table's getters give, however they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.errors import Kind
from lbproxy.http.h1 import RequestParser
from lbproxy.http.message import Limits, RequestHead
from lbproxy.observe import textlog
from lbproxy.observe.accesslog import compile_format
from lbproxy.observe.fields import FIELDS, header_getter, render
from lbproxy.observe.record import CacheNote, HTTPRecord
from tests.observe.records import TCPTraffic, Traffic

HTTP = [name for name in FIELDS if name not in ("country", "asn")]
TCP = [name for name in HTTP if not FIELDS[name].http]
HEADERS = (
    ("request", "X-Id"),
    ("request", "Referer"),
    ("request", "Cookie"),
    ("request", "Host"),
    ("response", "Content-Type"),
    ("response", "X-Id"),
)


def by_getters(record: Any, names: list[str]) -> bytes:
    """The line that the getters define, with a bar between fields."""
    texts = [render(FIELDS[name].get(record), FIELDS[name].limit) for name in names]
    if record.mode == "http":
        texts += [render(header_getter(side, name)(record)) for side, name in HEADERS]
    return ("|".join(texts) + "\n").encode()


def agree(record: Any, lines: int = 1) -> None:
    names = HTTP if record.mode == "http" else TCP
    fields = [f"%{{{name}}}" for name in names]
    if record.mode == "http":
        fields += [f"%{{{side}.{name}}}" for side, name in HEADERS]
    write = compile_format("|".join(fields), record.mode)
    for _ in range(lines):
        assert write(record) == by_getters(record, names)


def parsed(*lines: bytes, start: bytes = b"GET /a?b HTTP/1.1") -> RequestHead:
    """A head of raw lines, as the codec makes it."""
    raw = b"".join(line + b"\r\n" for line in (start, b"Host: a.example", *lines, b""))
    head = RequestParser(Limits()).receive(raw)[0]
    assert isinstance(head, RequestHead)
    return head


def test_the_host_is_that_of_the_request_and_not_of_its_line() -> None:
    for target, host, known in (
        (b"/", b"A.Example", b"a.example"),
        (b"http://b.example/", b"a.example", b"b.example"),
    ):
        raw = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host)
        head = RequestParser(Limits()).receive(raw)[0]
        assert isinstance(head, RequestHead)
        record = Traffic(request=head)
        agree(record)
        assert compile_format("%{request.host}", "http")(record) == known + b"\n"


PLAIN = [b"Referer: https://a.example/", b"User-Agent: x y", b"X-Id: 7", b"Cookie: a=b"]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        PLAIN,
        [b"Referer:", b"User-Agent: \t", b"X-Id:"],
        [b"Referer: 1", b"Referer: 2", b"User-Agent: a", b"X-Id: 1", b"User-Agent: b", b"x-id: 2"],
        [b'Referer: "quoted"', b"User-Agent: back\\slash", b"X-Id: \xe9\xff"],
        [b"Referer: " + b"r" * 1024, b"User-Agent: " + b"u" * 1025, b"X-Id: " + b"i" * 3000],
    ],
)
@pytest.mark.parametrize(
    "edit",
    [
        lambda head: None,
        lambda head: head.set_header(b"Referer", b"set"),
        lambda head: head.remove_header(b"user-agent"),
        lambda head: head.add_header(b"X-Id", b"added"),
        lambda head: head.headers.append((b"referer", b'a\n"b')),
    ],
)
def test_headers(lines: list[bytes], edit: Callable[[RequestHead], None]) -> None:
    head = parsed(*lines)
    edit(head)
    agree(Traffic(request=head))


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"/"),
        (b"", b""),
        (b"", b"/only"),
        (b"GET", b""),
        (b"G" * 512, b"/"),
        (b"G" * 513, b"/"),
        (b"G" * 2000, b"/"),
        (b"GET", b"/" + b"t" * 8191),
        (b"GET", b"/" + b"t" * 8192),
        (b"GET", b"/" + b"t" * 40_000),
        (b'G"T', b"/"),
        (b"GET", b"/\\\x00\xe9"),
    ],
)
@pytest.mark.parametrize("version", [9, 10, 11, 20, 99])
def test_request_lines(method: bytes, target: bytes, version: int) -> None:
    agree(Traffic(request=RequestHead(method, target, [], version=version, host=b"h")))


@pytest.mark.parametrize("status", [0, 7, 200, 999, 10**17, 10**19, -1])
@pytest.mark.parametrize("reused", [False, True])
def test_numbers(status: int, reused: bool) -> None:
    agree(Traffic(status=status, bytes_out=status, attempts=0, reused=reused))


@pytest.mark.parametrize(
    "seconds",
    [-1.0, 0.0, 1e-9, 0.0000014, 0.000999, 0.5, 59.9999996, 1e6, 1e12, 1e300, float("nan")],
)
def test_times(seconds: float) -> None:
    agree(Traffic(t_header=seconds, t_total=seconds, t_connect=seconds, t_queue=seconds))


@pytest.mark.parametrize("close", list(Kind))
def test_close_reasons(close: Kind) -> None:
    agree(Traffic(close=close, detail="because", cached=CacheNote("hit", "why", 3.7)))
    agree(TCPTraffic(close=close, detail="because"))


def test_no_response() -> None:
    agree(Traffic(response=None))


def test_momentspass() -> None:
    write = compile_format("%{time} %{time_clf} %{epoch_ms}", "http")
    names = ["time", "time_clf", "epoch_ms"]
    for moment in (0.0, 0.9999, 1.0, 61.5, 60.25, 951782400.0, 1763902000.123):
        record = Traffic(started=moment)
        texts = [render(FIELDS[name].get(record)) for name in names]
        assert write(record) == (" ".join(texts) + "\n").encode()


moments = st.floats().map(lambda seconds: seconds + 0.0)  # not -0.0, which no clock measures
words = st.text(max_size=30) | st.sampled_from(["", '"', "\\", "-", "\x7f", "é€😀", "x" * 1030])


@given(words, words, words, st.binary(max_size=30), st.integers(), moments)
def test_any_record(a: str, b: str, c: str, raw: bytes, number: int, seconds: float) -> None:
    head = RequestHead(raw, raw, [(b"X-Id", raw), (b"Referer", raw)], host=raw)
    agree(
        Traffic(
            client_ip=a, server_name=b, route=c, backend_name=a, detail=b, frontend_name=c,
            known_request_id=a, request=head, bytes_in=number, client_port=number,
            t_queue=seconds, t_response=seconds,
        ),
        lines=2,
    )  # fmt: skip


def test_names_that_are_kept_have_a_bound() -> None:
    write = compile_format("%{client_ip} %{server}", "http")
    for n in range(3000):
        record: HTTPRecord = Traffic(client_ip=f"192.0.2.{n}", server_name="s" * 100 + str(n))
        assert write(record) == f"192.0.2.{n} {'s' * 100}{n}\n".encode()
    assert len(textlog._names) <= textlog.KEPT
    assert max(map(len, textlog._names)) <= 64


def test_a_long_line_does_not_keep_its_buffer() -> None:
    lines = textlog.TextLines([textlog.constant("x" * 70_000)])
    before = lines._writer
    assert len(lines.line(Traffic())) == 70_000
    assert lines._writer is not before
