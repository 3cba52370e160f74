"""The encoders: framing, connection lines, and what they refuse to write."""

from __future__ import annotations

import pytest

from lbproxy.http.h1_write import (
    LAST_CHUNK,
    encode_chunk,
    encode_end,
    encode_request,
    encode_response,
    encode_trailers,
)
from lbproxy.http.message import END, End, RequestHead, ResponseHead


def lines(raw: bytes) -> list[bytes]:
    assert raw.endswith(b"\r\n\r\n")
    return raw[:-4].split(b"\r\n")


def get(**changes: object) -> RequestHead:
    values: dict[str, object] = {"method": b"GET", "target": b"/", "headers": [(b"Host", b"a")]}
    return RequestHead(**{**values, **changes})  # type: ignore[arg-type]


def ok(**changes: object) -> ResponseHead:
    values: dict[str, object] = {"status": 200, "headers": [], "reason": b"OK"}
    return ResponseHead(**{**values, **changes})  # type: ignore[arg-type]


def test_plain_request() -> None:
    head = get(target=b"/x?y", headers=[(b"A", b"1"), (b"host", b"a"), (b"a", b"2")])
    assert encode_request(head) == b"GET /x?y HTTP/1.1\r\nHost: a\r\nA: 1\r\na: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "host", "given", "expected"),
    [
        ([(b"Host", b"a")], b"b", None, b"Host: a"),
        ([(b"Host", b"a")], b"b", b"c", b"Host: c"),
        ([], b"b", None, b"Host: b"),
        ([], b"", None, b"Host: "),
        ([(b"Host", b"a"), (b"HOST", b"z")], b"b", None, b"Host: a"),
    ],
)
def test_exactly_one_host_line(
    headers: list[tuple[bytes, bytes]], host: bytes, given: bytes | None, expected: bytes
) -> None:
    assert lines(encode_request(get(headers=headers, host=host), given))[1:] == [expected]


@pytest.mark.parametrize(
    ("method", "length", "expected"),
    [
        (b"GET", 0, []),
        (b"DELETE", 0, []),
        (b"GET", 5, [b"Content-Length: 5"]),
        (b"POST", 0, [b"Content-Length: 0"]),
        (b"PUT", 0, [b"Content-Length: 0"]),
        (b"PATCH", 0, [b"Content-Length: 0"]),
        (b"POST", 7, [b"Content-Length: 7"]),
        (b"POST", None, [b"Transfer-Encoding: chunked"]),
        (b"GET", None, [b"Transfer-Encoding: chunked"]),
    ],
)
def test_request_framing(method: bytes, length: int | None, expected: list[bytes]) -> None:
    stale = [
        (b"Host", b"a"),
        (b"Content-Length", b"999"),
        (b"transfer-encoding", b"chunked"),
        (b"CONNECTION", b"x"),
        (b"Upgrade", b"h2c"),
    ]
    head = get(method=method, length=length, headers=stale)
    assert lines(encode_request(head))[2:] == expected


def test_request_connection_lines() -> None:
    assert lines(encode_request(get(keep_alive=False)))[2:] == []
    assert lines(encode_request(get(), close=True))[2:] == [b"Connection: close"]
    assert lines(encode_request(get(upgrade=b"websocket")))[2:] == [
        b"Connection: upgrade",
        b"Upgrade: websocket",
    ]


def test_te_is_named_in_connection() -> None:
    te = [(b"Host", b"a"), (b"te", b"trailers"), (b"TE", b"")]
    sent = lines(encode_request(get(headers=te)))[2:]
    assert sent == [b"te: trailers", b"TE: ", b"Connection: TE"]
    assert lines(encode_request(get(headers=te), close=True))[-1] == b"Connection: TE, close"
    sent = lines(encode_request(get(headers=te, upgrade=b"x")))[-2:]
    assert sent == [b"Connection: TE, upgrade", b"Upgrade: x"]
    assert b"Connection: TE" not in encode_response(ok(headers=te))[0]


def test_expect_and_date_pass() -> None:
    headers = [(b"Host", b"a"), (b"Expect", b"100-continue"), (b"Date", b"x")]
    assert lines(encode_request(get(headers=headers)))[2:] == [
        b"Expect: 100-continue",
        b"Date: x",
    ]


BAD_TEXTS = [b"a\r\nX: y", b"a\nb", b"a\rb", b"a\0b", b"a\x01", b"\x7f", b"a\r\n\r\nGET / HTTP/1.1"]
BAD_NAMES = [b"", b"a b", b"a:", b"a: b", b" a", b"a\r\nb", b"a\n", b"a\0", b"\xe9", b"a\t"]


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_nothing_can_be_injected_by_a_value(text: bytes) -> None:
    for head in (
        get(headers=[(b"Host", b"a"), (b"X", text)]),
        get(headers=[(b"Host", text)]),
        get(target=b"/" + text),
        get(method=text),
        get(host=text, headers=[]),
        get(upgrade=text),
    ):
        with pytest.raises(ValueError):
            encode_request(head)
    with pytest.raises(ValueError):
        encode_request(get(), text)
    for response in (
        ok(headers=[(b"X", text)]),
        ok(reason=text),
        ok(status=101, upgrade=text),
        ok(headers=[(b"Date", text)]),
    ):
        with pytest.raises(ValueError):
            encode_response(response)
    with pytest.raises(ValueError):
        encode_response(ok(), date=text)
    with pytest.raises(ValueError):
        encode_trailers([(b"A", text)])


@pytest.mark.parametrize("length", [-1, -38, -1000])
def test_a_negative_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError):
        encode_request(get(length=length))
    with pytest.raises(ValueError):
        encode_response(ok(length=length))


@pytest.mark.parametrize("name", BAD_NAMES)
def test_nothing_can_be_injected_by_a_name(name: bytes) -> None:
    with pytest.raises(ValueError):
        encode_request(get(headers=[(name, b"x")]))
    with pytest.raises(ValueError):
        encode_response(ok(headers=[(name, b"x")]))
    with pytest.raises(ValueError):
        encode_trailers([(name, b"x")])


@pytest.mark.parametrize("target", [b"", b"/a b", b"/ HTTP/1.1", b"/\t", b"/\xe9"])
def test_malformed_targets(target: bytes) -> None:
    with pytest.raises(ValueError, match="target"):
        encode_request(get(target=target))


@pytest.mark.parametrize("status", [0, 99, 1000, -200])
def test_malformed_status(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        encode_response(ok(status=status))


STALE = [
    (b"Content-Length", b"999"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Connection", b"close"),
    (b"Upgrade", b"h2c"),
    (b"Proxy-Connection", b"close"),
]


@pytest.mark.parametrize(
    ("changes", "options", "expected", "chunked"),
    [
        ({"length": 5}, {}, [b"Content-Length: 5"], False),
        ({"length": 0}, {}, [b"Content-Length: 0"], False),
        ({"length": None}, {}, [b"Transfer-Encoding: chunked"], True),
        ({"length": 5}, {"keep_alive": False}, [b"Content-Length: 5", b"Connection: close"], False),
        (
            {"length": None},
            {"keep_alive": False},
            [b"Transfer-Encoding: chunked", b"Connection: close"],
            True,
        ),
        (
            {"length": 5},
            {"client_version": 10},
            [b"Content-Length: 5", b"Connection: keep-alive"],
            False,
        ),
        (
            {"length": 5},
            {"client_version": 10, "keep_alive": False},
            [b"Content-Length: 5", b"Connection: close"],
            False,
        ),
        ({"length": None}, {"client_version": 10}, [b"Connection: close"], False),
        ({"status": 204}, {}, [], False),
        ({"status": 204, "length": 5}, {}, [], False),
        ({"status": 304}, {}, [b"Content-Length: 999"], False),
        ({"status": 304, "length": None}, {}, [b"Content-Length: 999"], False),
        ({}, {"method": b"HEAD"}, [b"Content-Length: 999"], False),
        ({"length": None}, {"method": b"HEAD"}, [b"Content-Length: 999"], False),
        ({}, {"method": b"CONNECT"}, [], False),
        ({"status": 403}, {"method": b"CONNECT"}, [b"Content-Length: 0"], False),
        ({"status": 100}, {"keep_alive": False, "date": b"d"}, [], False),
        (
            {"status": 101, "upgrade": b"websocket"},
            {"keep_alive": False},
            [b"Connection: upgrade", b"Upgrade: websocket"],
            False,
        ),
    ],
)
def test_response_framing(
    changes: dict[str, object], options: dict[str, object], expected: list[bytes], chunked: bool
) -> None:
    raw, is_chunked = encode_response(ok(headers=list(STALE), **changes), **options)  # type: ignore[arg-type]
    assert lines(raw)[1:] == expected
    assert is_chunked is chunked


def test_head_without_length_gets_none() -> None:
    assert lines(encode_response(ok(), method=b"HEAD")[0])[1:] == []
    raw = encode_response(ok(headers=[(b"Content-Length", b"5, 5")]), method=b"HEAD")[0]
    assert lines(raw)[1:] == []


def test_no_interim_response_for_a_1_0_client() -> None:
    assert encode_response(ok(status=100), client_version=10) == (b"", False)


def test_status_line() -> None:
    assert lines(encode_response(ok(reason=b"Fine"))[0])[0] == b"HTTP/1.1 200 Fine"
    assert lines(encode_response(ok(status=404, reason=b""))[0])[0] == b"HTTP/1.1 404 Not Found"
    assert lines(encode_response(ok(status=777, reason=b""))[0])[0] == b"HTTP/1.1 777 "
    assert lines(encode_response(ok(version=10), client_version=10)[0])[0] == b"HTTP/1.1 200 OK"


def test_date_is_added_once() -> None:
    assert b"Date: now" in lines(encode_response(ok(), date=b"now")[0])
    raw = encode_response(ok(headers=[(b"date", b"then")]), date=b"now")[0]
    assert b"date: then" in lines(raw)
    assert b"now" not in raw


def test_chunks() -> None:
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert encode_chunk(b"") == b""
    assert encode_trailers([]) == encode_end(END) == LAST_CHUNK
    assert encode_end(End(((b"A", b"1"),))) == b"0\r\nA: 1\r\n\r\n"
    trailers = [(b"A", b"1"), (b"content-length", b"5"), (b"Set-Cookie", b"x"), (b"B", b"2")]
    assert encode_trailers(trailers) == b"0\r\nA: 1\r\nB: 2\r\n\r\n"
    assert encode_trailers([(b"Host", b"x")]) == LAST_CHUNK
