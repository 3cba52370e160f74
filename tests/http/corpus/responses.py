"""Responses, each with what the parser has to make of it, the end of the connection included.

A row is a name, the method of the request, the bytes, and the events (``STATUS version length
flags``, ``+body``, ``end``), the last ones from ``eof``.  Rows run with ``LIMITS`` below.
"""

from __future__ import annotations

from lbproxy.http.message import Limits

LIMITS = Limits(header_bytes=1024, header_count=12, url_bytes=200, trailer_bytes=128, body_bytes=3)

BAD = "502 bad_response"

Row = tuple[str, bytes, bytes, list[str]]


def res(start: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    """A response with this status line."""
    return start + b"\r\n" + b"".join(x + b"\r\n" for x in lines) + b"\r\n" + body


def ok(*lines: bytes, body: bytes = b"") -> bytes:
    """A 200 with these field lines."""
    return res(b"HTTP/1.1 200 OK", *lines, body=body)


EMPTY = b"Content-Length: 0"
CHUNKED = b"Transfer-Encoding: chunked"
CODED = "200 11 None chunked"

STATUS_LINES: list[Row] = [
    ("plain", b"GET", ok(EMPTY), ["200 11 0", "end"]),
    ("1.0", b"GET", res(b"HTTP/1.0 200 OK", EMPTY), ["200 10 0 close", "end"]),
    ("1.2", b"GET", res(b"HTTP/1.2 200 OK", EMPTY), ["200 11 0", "end"]),
    ("1.9", b"GET", res(b"HTTP/1.9 200 OK", EMPTY), ["200 11 0", "end"]),
    ("no reason", b"GET", res(b"HTTP/1.1 200 ", EMPTY), ["200 11 0", "end"]),
    ("no reason, no space", b"GET", res(b"HTTP/1.1 200", EMPTY), ["200 11 0", "end"]),
    ("long reason", b"GET", res(b"HTTP/1.1 404 No such \xe9 thing: x", EMPTY), ["404 11 0", "end"]),
    ("status 999", b"GET", res(b"HTTP/1.1 999 Odd", EMPTY), ["999 11 0", "end"]),
    ("status 600", b"GET", res(b"HTTP/1.1 600 Odd", EMPTY), ["600 11 0", "end"]),
    ("status 099", b"GET", res(b"HTTP/1.1 099 Odd", EMPTY), [BAD]),
    ("status 000", b"GET", res(b"HTTP/1.1 000 Odd", EMPTY), [BAD]),
    ("status 20", b"GET", res(b"HTTP/1.1 20 OK", EMPTY), [BAD]),
    ("status 2000", b"GET", res(b"HTTP/1.1 2000 OK", EMPTY), [BAD]),
    ("status +20", b"GET", res(b"HTTP/1.1 +20 OK", EMPTY), [BAD]),
    ("status 2xx", b"GET", res(b"HTTP/1.1 2xx OK", EMPTY), [BAD]),
    ("two spaces", b"GET", res(b"HTTP/1.1  200 OK", EMPTY), [BAD]),
    ("tab", b"GET", res(b"HTTP/1.1\t200 OK", EMPTY), [BAD]),
    ("tab after status", b"GET", res(b"HTTP/1.1 200\tOK", EMPTY), [BAD]),
    ("control character in reason", b"GET", res(b"HTTP/1.1 200 O\x01K", EMPTY), [BAD]),
    ("NUL in reason", b"GET", res(b"HTTP/1.1 200 O\0K", EMPTY), [BAD]),
    ("2.0", b"GET", res(b"HTTP/2.0 200 OK", EMPTY), [BAD]),
    ("0.9", b"GET", b"<html>hello</html>", [BAD]),
    ("0.9 of letters", b"GET", b"hello", [BAD]),
    ("ICY", b"GET", res(b"ICY 200 OK", EMPTY), [BAD]),
    ("lower case", b"GET", res(b"http/1.1 200 OK", EMPTY), [BAD]),
    ("leading space", b"GET", res(b" HTTP/1.1 200 OK", EMPTY), [BAD]),
    ("leading CRLF", b"GET", b"\r\n" + ok(EMPTY), [BAD]),
    ("leading LF", b"GET", b"\n" + ok(EMPTY), [BAD]),
    ("only CR", b"GET", b"\r", [BAD]),
    ("SSH banner", b"GET", b"SSH-2.0-OpenSSH_9.2\r\n", [BAD]),
    ("TLS alert", b"GET", b"\x15\x03\x01\x00\x02\x02\x46", [BAD]),
    (
        "longest status line",
        b"GET",
        res(b"HTTP/1.1 200 " + b"x" * 186, EMPTY),
        ["200 11 0", "end"],
    ),
    ("longer status line", b"GET", res(b"HTTP/1.1 200 " + b"x" * 187, EMPTY), [BAD]),
    ("endless status line", b"GET", b"HTTP/1.1 200 " + b"x" * 300, [BAD]),
    ("nothing", b"GET", b"", [BAD]),
    ("half a head", b"GET", b"HTTP/1.1 200 OK\r\nX:", [BAD]),
]

FIELDS: list[Row] = [
    ("bare LF", b"GET", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", [BAD]),
    ("bare LF in a value", b"GET", ok(b"X: a\nb: c", EMPTY), [BAD]),
    ("bare CR in a value", b"GET", ok(b"X: a\rb", EMPTY), [BAD]),
    ("NUL in a value", b"GET", ok(b"X: \0", EMPTY), [BAD]),
    ("space before colon", b"GET", ok(b"Content-Length : 0"), ["200 11 0", "end"]),
    ("space before colon, length twice", b"GET", ok(b"Content-Length : 0", EMPTY), [BAD]),
    ("space in a name", b"GET", ok(b"Content Length: 0"), [BAD]),
    ("space before a name", b"GET", ok(b"X: y", b" Content-Length: 0"), [BAD]),
    ("no name before colon", b"GET", ok(b" : 0"), [BAD]),
    ("folded", b"GET", ok(b"X: a", b" b", EMPTY), [BAD]),
    ("no colon", b"GET", ok(b"X", EMPTY), [BAD]),
    ("too many", b"GET", ok(*[b"X: y"] * 13), [BAD]),
    ("too large", b"GET", ok(b"X: " + b"y" * 1100), [BAD]),
    ("many", b"GET", ok(EMPTY, *[b"Set-Cookie: y"] * 11), ["200 11 0", "end"]),
    ("close", b"GET", ok(EMPTY, b"Connection: close"), ["200 11 0 close", "end"]),
    (
        "keep-alive in 1.0",
        b"GET",
        res(b"HTTP/1.0 200 OK", EMPTY, b"Connection: keep-alive"),
        ["200 10 0", "end"],
    ),
    (
        "nominated",
        b"GET",
        ok(EMPTY, b"Connection: X-Hop, keep-alive"),
        ["200 11 0 nominated=x-hop", "end"],
    ),
    ("date twice", b"GET", ok(EMPTY, b"Date: a", b"Date: b"), ["200 11 0", "end"]),
]

BODIES: list[Row] = [
    ("size padded", b"GET", ok(CHUNKED, body=b"2  \r\nhi\r\n0\t\r\n\r\n"), [CODED, "+hi", "end"]),
    (
        "size of 18 digits",
        b"GET",
        ok(CHUNKED, body=b"0" * 17 + b"2\r\nhi\r\n" + b"0" * 18 + b"\r\n\r\n"),
        [CODED, "+hi", "end"],
    ),
    ("size of 64 bits", b"GET", ok(CHUNKED, body=b"00" + b"f" * 16 + b"\r\nhi\r\n"), [CODED, BAD]),
    ("space before size", b"GET", ok(CHUNKED, body=b" 2\r\nhi\r\n0\r\n\r\n"), [CODED, BAD]),
    ("space in size", b"GET", ok(CHUNKED, body=b"0 2\r\nhi\r\n0\r\n\r\n"), [CODED, BAD]),
    ("only spaces for size", b"GET", ok(CHUNKED, body=b"  \r\nhi\r\n0\r\n\r\n"), [CODED, BAD]),
    ("length", b"GET", ok(b"Content-Length: 5", body=b"hello"), ["200 11 5", "+hello", "end"]),
    ("cut short", b"GET", ok(b"Content-Length: 5", body=b"hell"), ["200 11 5", "+hell", BAD]),
    (
        "too long",
        b"GET",
        ok(b"Content-Length: 5", body=b"hello!"),
        ["200 11 5", "+hello", "end", BAD],
    ),
    ("two answers to one request", b"GET", ok(EMPTY) + ok(EMPTY), ["200 11 0", "end", BAD]),
    ("CRLF behind", b"GET", ok(EMPTY) + b"\r\n", ["200 11 0", "end", BAD]),
    ("until close", b"GET", ok(body=b"hello"), ["200 11 None until-close close", "+hello", "end"]),
    ("until close, nothing", b"GET", ok(), ["200 11 None until-close close", "end"]),
    (
        "until close although keep-alive",
        b"GET",
        ok(b"Connection: keep-alive", body=b"x"),
        ["200 11 None until-close close", "+x", "end"],
    ),
    (
        "until close in 1.0",
        b"GET",
        res(b"HTTP/1.0 200 OK", body=b"a\r\n\r\nb"),
        ["200 10 None until-close close", "+a\r\n\r\nb", "end"],
    ),
    (
        "chunked",
        b"GET",
        ok(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
        ["200 11 None chunked", "+hello", "end"],
    ),
    (
        "chunked, trailers",
        b"GET",
        ok(CHUNKED, body=b"0\r\nA: 1\r\nContent-Length: 3\r\n\r\n"),
        ["200 11 None chunked", "end A=1"],
    ),
    (
        "chunked, cut short",
        b"GET",
        ok(CHUNKED, body=b"5\r\nhello\r\n"),
        ["200 11 None chunked", "+hello", BAD],
    ),
    (
        "chunked, cut before the last CRLF",
        b"GET",
        ok(CHUNKED, body=b"1\r\nx\r\n0\r\n"),
        ["200 11 None chunked", "+x", BAD],
    ),
    (
        "chunked, malformed",
        b"GET",
        ok(CHUNKED, body=b"0x5\r\nhello\r\n"),
        ["200 11 None chunked", BAD],
    ),
    ("chunked, LF", b"GET", ok(CHUNKED, body=b"5\nhello\n0\n\n"), ["200 11 None chunked", BAD]),
    ("chunked and length", b"GET", ok(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"), [BAD]),
    ("chunked in 1.0", b"GET", res(b"HTTP/1.0 200 OK", CHUNKED, body=b"0\r\n\r\n"), [BAD]),
    ("gzip, chunked", b"GET", ok(b"Transfer-Encoding: gzip, chunked"), [BAD]),
    ("gzip", b"GET", ok(b"Transfer-Encoding: gzip"), [BAD]),
    ("identity", b"GET", ok(b"Transfer-Encoding: identity", body=b"x"), [BAD]),
    ("chunked twice", b"GET", ok(CHUNKED, CHUNKED), [BAD]),
    ("length twice", b"GET", ok(EMPTY, EMPTY), [BAD]),
    ("length list", b"GET", ok(b"Content-Length: 0, 0"), [BAD]),
    ("length empty", b"GET", ok(b"Content-Length:"), [BAD]),
    ("length plus", b"GET", ok(b"Content-Length: +1", body=b"x"), [BAD]),
    ("length minus", b"GET", ok(b"Content-Length: -1"), [BAD]),
    ("length huge", b"GET", ok(b"Content-Length: 99999999999999999999"), [BAD]),
]

BODYLESS: list[Row] = [
    ("HEAD with length", b"HEAD", ok(b"Content-Length: 500"), ["200 11 0", "end"]),
    ("HEAD, chunked", b"HEAD", ok(CHUNKED), ["200 11 0", "end"]),
    ("HEAD, nothing", b"HEAD", ok(), ["200 11 0", "end"]),
    ("HEAD with a body", b"HEAD", ok(b"Content-Length: 1", body=b"x"), ["200 11 0", "end", BAD]),
    ("head is not HEAD", b"head", ok(b"Content-Length: 1", body=b"x"), ["200 11 1", "+x", "end"]),
    ("HEAD, malformed length", b"HEAD", ok(b"Content-Length: x"), ["200 11 0 close", "end"]),
    ("HEAD, two lengths", b"HEAD", ok(b"Content-Length: 1", EMPTY), ["200 11 0 close", "end"]),
    ("HEAD, length and chunked", b"HEAD", ok(EMPTY, CHUNKED), ["200 11 0 close", "end"]),
    ("HEAD, unknown coding", b"HEAD", ok(CHUNKED + b", gzip"), ["200 11 0 close", "end"]),
    ("HEAD, two hosts", b"HEAD", ok(b"Host: a", b"Host: a"), [BAD]),
    (
        "304 with length",
        b"GET",
        res(b"HTTP/1.1 304 Not Modified", b"Content-Length: 500"),
        ["304 11 0", "end"],
    ),
    ("304, chunked", b"GET", res(b"HTTP/1.1 304 Not Modified", CHUNKED), ["304 11 0", "end"]),
    (
        "304 with a body",
        b"GET",
        res(b"HTTP/1.1 304 x", b"Content-Length: 1", body=b"x"),
        ["304 11 0", "end", BAD],
    ),
    ("204", b"GET", res(b"HTTP/1.1 204 No Content"), ["204 11 0", "end"]),
    ("204 with length 0", b"GET", res(b"HTTP/1.1 204 x", EMPTY), ["204 11 0", "end"]),
    (
        "204 with length",
        b"GET",
        res(b"HTTP/1.1 204 x", b"Content-Length: 5"),
        ["204 11 0 close", "end"],
    ),
    ("204, chunked", b"GET", res(b"HTTP/1.1 204 x", CHUNKED), ["204 11 0 close", "end"]),
    (
        "204 with chunks",
        b"DELETE",
        res(b"HTTP/1.1 204 x", CHUNKED, body=b"0\r\n\r\n"),
        ["204 11 0 close", "end", BAD],
    ),
    (
        "204 in 1.0, chunked",
        b"GET",
        res(b"HTTP/1.0 204 x", CHUNKED),
        ["204 10 0 close", "end"],
    ),
    (
        "304, unknown coding",
        b"GET",
        res(b"HTTP/1.1 304 x", b"Transfer-Encoding: x"),
        ["304 11 0 close", "end"],
    ),
    (
        "205 without length",
        b"GET",
        res(b"HTTP/1.1 205 x"),
        ["205 11 None until-close close", "end"],
    ),
    ("CONNECT", b"CONNECT", ok(body=b"\x16\x03"), ["200 11 0", "stopped"]),
    (
        "CONNECT with length",
        b"CONNECT",
        ok(b"Content-Length: 5"),
        ["200 11 0 close", "stopped"],
    ),
    (
        "CONNECT, unknown coding",
        b"CONNECT",
        ok(b"Transfer-Encoding: x"),
        ["200 11 0 close", "stopped"],
    ),
    ("CONNECT refused", b"CONNECT", res(b"HTTP/1.1 403 x", EMPTY), ["403 11 0", "end"]),
]

INTERIM: list[Row] = [
    ("100", b"POST", res(b"HTTP/1.1 100 Continue") + ok(EMPTY), ["100 11 0", "200 11 0", "end"]),
    (
        "several",
        b"POST",
        res(b"HTTP/1.1 103 x", b"Link: y") * 3 + ok(EMPTY),
        ["103 11 0"] * 3 + ["200 11 0", "end"],
    ),
    ("only 100", b"POST", res(b"HTTP/1.1 100 Continue"), ["100 11 0", BAD]),
    (
        "100 with length 0",
        b"POST",
        res(b"HTTP/1.1 100 x", EMPTY) + ok(EMPTY),
        ["100 11 0", "200 11 0", "end"],
    ),
    (
        "100 with length",
        b"POST",
        res(b"HTTP/1.1 100 x", b"Content-Length: 1") + ok(EMPTY),
        ["100 11 0 close", "200 11 0 close", "end"],
    ),
    (
        "100, chunked",
        b"POST",
        res(b"HTTP/1.1 100 x", CHUNKED) + ok(EMPTY),
        ["100 11 0 close", "200 11 0 close", "end"],
    ),
    (
        "103 with a body",
        b"GET",
        res(b"HTTP/1.1 103 x", b"Content-Length: 1", body=b"x") + ok(EMPTY),
        ["103 11 0 close", BAD],
    ),
    (
        "101, chunked",
        b"GET",
        res(b"HTTP/1.1 101 x", b"Upgrade: a", CHUNKED),
        ["101 11 0 close upgrade=a", "stopped"],
    ),
    ("100 endlessly", b"POST", res(b"HTTP/1.1 100 x") * 101, ["100 11 0"] * 100 + [BAD]),
    (
        "100 to HEAD",
        b"HEAD",
        res(b"HTTP/1.1 100 x") + ok(b"Content-Length: 9"),
        ["100 11 0", "200 11 0", "end"],
    ),
    (
        "100 to CONNECT",
        b"CONNECT",
        res(b"HTTP/1.1 100 x") + ok(),
        ["100 11 0", "200 11 0", "stopped"],
    ),
    (
        "101",
        b"GET",
        res(b"HTTP/1.1 101 x", b"Upgrade: WebSocket", b"Connection: Upgrade")
        + b"\x81\x05hello\r\n\r\n",
        ["101 11 0 upgrade=websocket", "stopped"],
    ),
    (
        "101 after 100",
        b"GET",
        res(b"HTTP/1.1 100 x") + res(b"HTTP/1.1 101 x", b"Upgrade: a"),
        ["100 11 0", "101 11 0 upgrade=a", "stopped"],
    ),
    ("101 without upgrade", b"GET", res(b"HTTP/1.1 101 x"), [BAD]),
]

RESPONSES: list[Row] = [
    (f"{group}: {name}", method, raw, expected)
    for group, rows in (
        ("status line", STATUS_LINES),
        ("field", FIELDS),
        ("body", BODIES),
        ("bodyless", BODYLESS),
        ("interim", INTERIM),
    )
    for name, method, raw, expected in rows
]
