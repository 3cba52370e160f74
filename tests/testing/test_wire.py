"""The test kit's own HTTP reader."""

from __future__ import annotations

import pytest

from lbproxy.testing.wire import MessageReader, WireError, render

ANSWERS = [
    (["GET"], b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", [("200", b"abc")]),
    (["HEAD"], b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", [("200", b"")]),
    (["GET"], b"HTTP/1.1 304 Same\r\nContent-Length: 3\r\n\r\n", [("304", b"")]),
    (["GET"], b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 204 None\r\n\r\n", [("204", b"")]),
    (
        ["GET", "GET"],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: v\r\n\r\n"
        b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        [("200", b"abc"), ("404", b"")],
    ),
]


@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
@pytest.mark.parametrize(("methods", "data", "expected"), ANSWERS)
def test_answers_in_any_split(methods, data, expected, step):
    reader = MessageReader(responses=True)
    for method in methods:
        reader.expect(method)
    messages = [
        message
        for start in range(0, len(data), step)
        for message in reader.receive(data[start : start + step])
    ]
    assert [(m.start.split()[1], m.body) for m in messages] == expected
    assert reader.close() is None


def test_until_close_and_cut_short():
    reader = MessageReader(responses=True)
    assert reader.receive(b"HTTP/1.1 200 OK\r\n\r\nabc") == []
    last = reader.close()
    assert last is not None
    assert last.body == b"abc"
    reader = MessageReader(responses=True)
    reader.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    with pytest.raises(WireError):
        reader.close()


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    ],
)
def test_what_is_not_http(data):
    with pytest.raises(WireError):
        MessageReader(responses=True).receive(data)


def test_requests_round_trip():
    reader = MessageReader(responses=False)
    raw = render("POST /x HTTP/1.1", [("Host", "h"), ("Content-Length", "2")], b"hi")
    first, second = reader.receive(raw + b"GET /y HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (first.start, first.body, first.header("HOST")) == ("POST /x HTTP/1.1", b"hi", "h")
    assert (second.start, second.body) == ("GET /y HTTP/1.1", b"")
