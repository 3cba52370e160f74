"""The access log: its formats, and that nothing a client sends breaks a line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.errors import Kind
from lbproxy.http.message import RequestHead, header_pairs, text_of
from lbproxy.observe import jsonlog
from lbproxy.observe.accesslog import check_format, choose, compile_format
from lbproxy.observe.fields import FIELD_LIMIT, FIELDS, TARGET_LIMIT
from lbproxy.observe.jsonvalues import json_number
from lbproxy.observe.record import CacheNote, HTTPRecord
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.tcp.session import Session
from tests.observe.records import BROWSER, TCPTraffic, Traffic

JSON_HTTP = [name for name, field in FIELDS.items() if field.json]
JSON_TCP = [name for name, field in FIELDS.items() if field.json and not field.http]


def logged(record: Any, format: str = "json") -> Any:
    line = compile_format(format, record.mode)(record)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    return json.loads(line) if format == "json" else line.decode()[:-1]


def test_http_as_json() -> None:
    assert logged(Traffic()) == {
        "time": "2025-11-23T12:46:40.122Z",  # 1763902000.123 is a little less than that
        "mode": "http", "frontend": "web", "route": "path /static/*", "backend": "app",
        "server": "a",
        "client_ip": "203.0.113.9", "client_port": 0, "request_id": "",
        "method": "GET", "host": "example.com", "target": "/static/app.js?v=3",
        "version": "HTTP/1.1",
        "status": 200, "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0",
        "referer": "https://example.com/", "bytes_in": 12, "bytes_out": 3456, "attempts": 2,
        "reused": True, "close": "ok", "detail": "",
        "cache": "", "cache_reason": "", "cache_age": None,
        "header_ms": 0.1, "queue_ms": 0.0, "connect_ms": None, "response_ms": 1.25,
        "total_ms": 500.0,
        "listener": "tls:443", "peer_ip": "10.1.1.1", "peer_port": 5000, "local_ip": "10.0.0.1",
        "local_port": 443, "tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_128_GCM_SHA256",
        "sni": "example.com", "alpn": "http/1.1",
    }  # fmt: skip


def test_tcp_as_json() -> None:
    record = TCPTraffic(
        close=Kind.SERVER_GONE, detail="reset", info=ConnectionInfo(listener="tcp:1")
    )
    line = logged(record)
    assert list(line) == JSON_TCP
    assert line["mode"] == "tcp" and line["close"] == "server_gone" and line["tls_version"] == ""
    assert "status" not in line and "header_ms" not in line


def test_json_has_every_field_in_the_order_of_the_table() -> None:
    assert list(logged(Traffic())) == JSON_HTTP


def test_json_agrees_with_the_table() -> None:
    """The two ways to a field's value: written out in http_line, and the table's getters."""
    record = Traffic(t_queue=0.25, known_request_id="abc", close=Kind.CLIENT_GONE, detail="left")
    line = logged(record)
    for name in JSON_HTTP:
        assert line[name] == FIELDS[name].get(record), name


def test_what_a_cache_did() -> None:
    record = Traffic(cached=CacheNote("miss", 'fwd "x"', 12.9))
    line = logged(record)
    assert list(line) == JSON_HTTP
    assert (line["cache"], line["cache_reason"], line["cache_age"]) == ("miss", 'fwd "x"', 12)
    for name in JSON_HTTP:
        assert line[name] == FIELDS[name].get(record), name
    assert logged(record, "%{cache} %{cache_age} %{cache_reason}") == "miss 12 fwd \\x22x\\x22"
    assert logged(Traffic(), "%{cache} %{cache_age}") == "- -"
    assert logged(Traffic(cached=CacheNote("bypass", "method")))["cache_age"] is None


def test_what_is_kept_with_a_connection_does_not_leak_to_another() -> None:
    line = compile_format("json", "http")
    first, second = Traffic(), Traffic(info=ConnectionInfo(peer_ip="192.0.2.7", listener="tcp:80"))
    assert line(first) == line(first)
    assert json.loads(line(second))["peer_ip"] == "192.0.2.7"
    assert json.loads(line(first))["peer_ip"] == "10.1.1.1"
    assert json.loads(line(second))["tls_version"] == ""


def test_time_follows_the_record() -> None:
    line = compile_format("json", "http")
    times = [
        json.loads(line(Traffic(started=t)))["time"] for t in (0.0, 0.999999, 61.5, 0.0, 951782400)
    ]
    assert times == [
        "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.999Z", "1970-01-01T00:01:01.500Z",
        "1970-01-01T00:00:00.000Z", "2000-02-29T00:00:00.000Z",
    ]  # fmt: skip


def test_common_and_combined() -> None:
    common = (
        '203.0.113.9 - - [23/Nov/2025:12:46:40 +0000] "GET /static/app.js?v=3 HTTP/1.1" 200 3456'
    )
    assert logged(Traffic(), "common") == common
    agent = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
    assert logged(Traffic(), "combined") == f'{common} "https://example.com/" "{agent}"'


def test_what_was_no_request() -> None:
    record = Traffic(request=RequestHead(b"", b"", []), status=400, client_ip="", response=None)
    assert logged(record, "common").endswith('[23/Nov/2025:12:46:40 +0000] "-" 400 3456')
    assert logged(record, "common").startswith("- - - ")
    assert logged(record)["method"] == ""


def test_custom_format() -> None:
    format = (
        "%{client_ip} %{request.ACCEPT-language} %{response.content-type} %{response.X} 100%% "
        "%{total_ms} %{reused}"
    )
    assert logged(Traffic(), format) == "203.0.113.9 en-GB,en;q=0.5 text/css - 100% 500.000 true"
    assert logged(Traffic(), "%{epoch_ms}|%{connect_ms}") == "1763902000123|-"
    assert logged(TCPTraffic(), "é %{mode} %{bytes_in}") == "é tcp 12"
    record = Traffic(request=RequestHead(b"GET", b"/", header_pairs([("A", "1"), ("a", "2")])))
    assert logged(record, "%{request.a}") == "1, 2"


@pytest.mark.parametrize(
    ("format", "mode", "words"),
    [
        ("jsn", "http", "did you mean 'json'"),
        ("", "http", "json, common, combined"),
        ("plain text", "http", "not a format"),
        ("%{statsu}", "http", "did you mean 'status'"),
        ("%{qqqqqq}", "http", "unknown field"),
        ("%{request.}", "http", "unknown field"),
        ("%{status} %d", "http", "column 11"),
        ("%{status} %", "http", "column 11"),
        ("%{status", "http", "not followed by"),
        ("%{status}\n", "http", "control character"),
        ("%{status}\x1b[0m", "http", "control character"),
        ("%{status}" + "x" * 9000, "http", "longer than"),
        ("common", "tcp", "json or a custom format"),
        ("%{status}", "tcp", "not in tcp mode"),
        ("%{request.Host}", "tcp", "not in tcp mode"),
    ],
)
def test_formats_refused(format: str, mode: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        check_format(format, mode)


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_formats_accepted(mode: str) -> None:
    check_format("json", mode)
    for name, field in FIELDS.items():
        if mode == "http" or not field.http:
            check_format(f"%{{{name}}}", mode)


HOSTILE = st.binary(max_size=40) | st.sampled_from(
    [
        b'"',
        b"\\",
        b'\\"',
        b"\r\n",
        b"\x00\x1b[2J",
        b"\x7f",
        b"\xe2\x80\xa8",
        b"\xc2\x85",
        b"%s%{status}",
    ]
)


def hostile(a: bytes, b: bytes, c: bytes) -> HTTPRecord:
    headers = [(b"User-Agent", a), (b"referer", b), (b"X-Id", c)]
    return Traffic(
        request=RequestHead(a, b, headers, host=c),
        detail=a.decode("latin-1") + "\u2028\U0001f600",
        route=b.decode("utf-8", "replace"),
    )


@given(HOSTILE, HOSTILE, HOSTILE)
def test_json_is_one_printable_line_whatever_comes(a: bytes, b: bytes, c: bytes) -> None:
    record = hostile(a, b, c)
    data = compile_format("json", "http")(record)
    assert re.fullmatch(rb"[ -~]+\n", data)
    line = json.loads(data)
    assert line["method"] == text_of(a)
    assert line["target"] == text_of(b)
    assert line["host"] == text_of(c)
    assert line["user_agent"] == text_of(a)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_text_is_one_printable_line_whatever_comes(a: bytes, b: bytes, c: bytes) -> None:
    format = (
        'x "%{method}" "%{target}" "%{user_agent}" "%{referer}" "%{request.x-id}" '
        '"%{detail}" "%{route}"'
    )
    data = compile_format(format, "http")(hostile(a, b, c))
    assert re.fullmatch(rb'x( "[ !#-~]*"){7}\n', data)  # no value holds a quote
    data = compile_format("combined", "http")(hostile(a, b, c))
    assert re.fullmatch(rb'[^"]*"[ !#-~]*" 200 3456 "[ !#-~]*" "[ !#-~]*"\n', data)


def test_json_shows_utf_8_as_text() -> None:
    """Bytes that are no UTF-8 are taken as Latin-1."""
    name = "/caf\xe9/\u4f60\u597d"
    data = hostile(name.encode(), name.encode(), "b\xfccher.example".encode("latin-1"))
    line = json.loads(compile_format("json", "http")(data))
    assert (line["target"], line["user_agent"]) == (name, name)
    assert line["host"] == "b\xfccher.example"


def test_a_cut_does_not_split_a_character() -> None:
    long = ("\u20ac" * 20_000).encode()
    line = json.loads(compile_format("json", "http")(hostile(long, long, b"")))
    assert line["target"] == "\u20ac" * 8189 + "..."
    assert line["user_agent"] == "\u20ac" * 1021 + "..."


def test_text_formats_escape_bytes_as_others_do() -> None:
    data = compile_format("%{target}", "http")(hostile(b"GET", "/\xe9".encode(), b""))
    assert data == b"/\\xc3\\xa9\n"


def test_escapes_are_unambiguous() -> None:
    record = Traffic(detail='a"b\\x\n\x7f\xe9\u20ac\U0001f600')
    assert logged(record, "%{detail}") == "a\\x22b\\x5cx\\x0a\\x7f\\xe9\\u20ac\\U0001f600"


@pytest.mark.parametrize("size", [FIELD_LIMIT - 1, FIELD_LIMIT, FIELD_LIMIT + 1, 20_000])
def test_long_fields_are_cut(size: int) -> None:
    text = b"x" * size
    record = Traffic(request=RequestHead(text, b"/" + text, [(b"User-Agent", text)], host=text))
    line = logged(record)
    for name in ("method", "host", "user_agent"):
        assert len(line[name]) == min(size, FIELD_LIMIT)
        assert line[name].endswith("...") is (size > FIELD_LIMIT)
    assert len(line["target"]) == min(size + 1, TARGET_LIMIT)
    assert len(logged(record, "combined")) < TARGET_LIMIT + 4 * FIELD_LIMIT


def test_one_field_just_over_the_limit_is_cut_in_an_otherwise_empty_record() -> None:
    record = Traffic(
        frontend_name="", backend_name="", server_name="", route="", client_ip="",
        detail="d" * 1025,
        request=RequestHead(b"", b"", []), close=Kind.OK, info=ConnectionInfo(),
    )  # fmt: skip
    assert len(logged(record)["detail"]) == FIELD_LIMIT
    info = ConnectionInfo(listener="l" * 1025)
    assert len(logged(Traffic(info=info))["listener"]) == FIELD_LIMIT


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (True, "true"), (None, "null"), (1.5, "1.5"), (float("nan"), '"nan"'),
        ('a"\x7f', '"a\\"\\u007f"')],
)  # fmt: skip
def test_what_a_filter_put_for_a_number_is_json_all_the_same(value: Any, text: str) -> None:
    assert json_number(value) == text


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, -0.001])
def test_a_time_that_is_none_is_null(seconds: float) -> None:
    assert logged(Traffic(t_total=seconds))["total_ms"] is None


def test_what_a_writer_remembers_has_a_bound() -> None:
    writer = jsonlog.HTTPLines()
    for n in range(3000):
        record = Traffic(request=RequestHead(b"M%d" % n, b"/", []), route=f"path /{n}")
        assert json.loads(writer.line(record))["route"] == f"path /{n}"
    assert len(writer._ways) <= 1024
    long = Traffic(request=RequestHead(b"x" * 5000, b"/", []), route="y" * 5000)
    line = json.loads(writer.line(long))
    assert len(line["method"]) == FIELD_LIMIT and len(line["route"]) == FIELD_LIMIT
    assert len(writer._method) < 100 and len(writer._lead) <= 1024
    assert all(len(part) < 100 for key in writer._ways for part in key)


def test_another_host_is_logged() -> None:
    head = RequestHead(b"GET", b"/", list(BROWSER), host=b"a.example")
    writer = jsonlog.HTTPLines()
    record = Traffic(request=head)
    assert json.loads(writer.line(record))["host"] == "a.example"
    head.host = b"b.example"
    line = json.loads(writer.line(record))
    assert line["host"] == "b.example" and line["user_agent"] == logged(Traffic())["user_agent"]


def test_what_repeats_is_not_repeated_when_it_changes() -> None:
    """One writer, and a record in which one value differs each time."""
    usual: dict[str, Any] = {"attempts": 1, "reused": True, "bytes_in": 0, "t_header": 0.0,
        "t_queue": 0.0, "t_connect": 0.0}  # fmt: skip
    changes: list[dict[str, Any]] = [
        {}, {"attempts": 2}, {"reused": False}, {"bytes_in": 5}, {"t_header": 0.5},
        {"t_queue": -1.0}, {"t_connect": 2.0}, {"close": Kind.CLIENT_GONE}, {"detail": "left"},
        {"cached": CacheNote("hit", "fresh", 3.0)}, {"status": 404}, {"status": 999}, {"status": 0},
        {"request": RequestHead(b"PUT", b"/", [], host=b"a.example")},
        {"request": RequestHead(b"GET", b"/", [], host=b"a.example")},
        {"request": RequestHead(b"GET", b"/", [], host=b"b.example", version=10)},
        {"request": RequestHead(b"GET", b"/", [], host=b"b.example", version=20)},
    ]  # fmt: skip
    writer = jsonlog.HTTPLines()
    for change in [*changes, *reversed(changes)]:
        record = Traffic(**{**usual, **change})
        line = json.loads(writer.line(record))
        assert list(line) == JSON_HTTP
        for name in JSON_HTTP:
            assert line[name] == FIELDS[name].get(record), (name, change)


def test_odd_values() -> None:
    line = logged(Traffic(detail="lone \ud800", bytes_in=1 << 70))
    assert line["detail"] == "lone \ud800" and line["bytes_in"] == 1 << 70


def test_the_real_records_have_what_is_read() -> None:
    names = {"info", "frontend_name", "backend_name", "server_name", "route", "client_ip",
        "client_port",
             "known_request_id", "started", "t_queue", "t_connect", "t_total", "bytes_in",
             "bytes_out",
             "attempts", "close", "detail", "mode", "t_header", "t_response"}  # fmt: skip
    assert not names - set(dir(Session))
    assert not (names | {"request", "response", "status", "reused", "cached"}) - set(
        dir(HTTPTraffic)
    )


def test_every_field_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "logging.rst").read_text()
    for name, field in FIELDS.items():
        assert f"``{name}``" in text, name
        assert " ".join(field.doc.split()) in " ".join(text.split()), name
    for kind in Kind:
        assert f"``{kind.value}``" in text, kind


@pytest.mark.parametrize(
    ("close", "status", "seconds", "logged"),
    [
        (Kind.OK, 200, 0.1, False),
        (Kind.OK, 404, 0.1, False),
        (Kind.REPLIED, 200, 0.0, False),
        (Kind.OK, 500, 0.1, True),
        (Kind.CONNECT_FAILED, 502, 0.1, True),
        (Kind.CLIENT_GONE, 0, 0.1, True),
        (Kind.DENIED, 403, 0.0, True),
        (Kind.OK, 200, 2.0, True),
    ],
)
def test_errors_are_always_logged(close: Kind, status: int, seconds: float, logged: bool) -> None:
    record = SimpleNamespace(close=close, status=status, t_total=seconds)
    assert choose(1.0, 1.0, lambda: 0.0)(record) is logged
    assert choose(0.0, 1.0, lambda: 0.0)(record) is (logged and seconds < 1)


def test_a_share_is_logged() -> None:
    numbers = iter([0.0, 0.0999, 0.1, 0.5])
    wanted = choose(0.1, 0.0, lambda: next(numbers))
    session = SimpleNamespace(close=Kind.OK, t_total=0.5)
    assert [wanted(session) for _ in range(4)] == [True, True, False, False]
