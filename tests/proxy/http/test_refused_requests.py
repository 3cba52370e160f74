"""Refused requests in the access log: method, target and host as far as they were read."""

from __future__ import annotations

import pytest

from lbproxy.http.h1 import refused_head
from lbproxy.testing import LoadBalancerFixture
from tests.proxy.logkit import follow

TEXT = """\
[frontend web]
listen = tcp:8080
max_header_bytes = 2k
max_url = 100
max_body = 10
timeout_header = 5s
backend = app
[backend app]
servers = a 10.0.0.1:80
"""


COOKIES = b"GET /a?b=c HTTP/1.1\r\nHost: Big.Example:80\r\nCookie: " + b"c" * 4000


@pytest.mark.parametrize("size", [1, 7, 1000, 10_000])
@pytest.mark.parametrize(
    ("data", "status", "close", "method", "target", "host"),
    [
        (COOKIES, 431, "headers_too_large", "GET", "/a?b=c", "big.example:80"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request", "GET", "/", ""),
        (b"PUT /x HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400, "bad_request", "PUT", "/x", "x"),
        (b"GET /y HTTP/9.1\r\nHost: x\r\n\r\n", 505, "unsupported", "GET", "/y", "x"),
        (
            b"POST /u HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n",
            413,
            "body_too_large",
            "POST",
            "/u",
            "x",
        ),
        (b"\x16\x03\x01\r\n\r\n", 400, "bad_request", "", "", ""),
    ],
)
def test_what_was_read_is_logged(
    size: int, data: bytes, status: int, close: str, method: str, target: str, host: str
) -> None:
    with LoadBalancerFixture.from_config(TEXT) as lb:
        log = follow(lb)
        client = lb.connect("127.0.0.1:8080")
        for at in range(0, len(data), size):
            client.send(data[at : at + size])
        (record,) = log
    assert (record["status"], record["close"]) == (status, close)
    assert (record["method"], record["target"], record["host"]) == (method, target, host)
    assert (record["header_ms"] is None) == (close != "body_too_large"), "its head was good"


def test_a_long_target_is_logged_as_far_as_it_was_read() -> None:
    with LoadBalancerFixture.from_config(TEXT) as lb:
        log = follow(lb)
        lb.connect("127.0.0.1:8080").send(b"GET /" + b"x" * 500)
        (record,) = log
    assert (record["status"], record["method"]) == (414, "GET")
    assert record["target"].startswith("/xxx")


def test_a_head_that_comes_too_late_is_logged() -> None:
    with LoadBalancerFixture.from_config(TEXT) as lb:
        log = follow(lb)
        lb.connect("127.0.0.1:8080").send(b"GET /slow HTTP/1.1\r\nHost: s\r\nX-A")
        lb.advance(6)
        (record,) = log
    assert (record["status"], record["close"]) == (408, "client_timeout")
    assert (record["method"], record["target"], record["host"]) == ("GET", "/slow", "s")


def test_a_refused_request_behind_a_good_one() -> None:
    with LoadBalancerFixture.from_config(TEXT) as lb:
        log = follow(lb)
        lb.origin("a", "10.0.0.1:80")
        client = lb.connect("127.0.0.1:8080")
        client.send(
            b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n"
        )
        lb.advance(1)
        assert [one["target"] for one in log] == ["/1", "/2"]


def test_a_line_of_blanks_takes_no_time() -> None:
    start = b"GET / HTTP/1.1\r\nHost: a" + b" " * 1_000_000 + b"b"
    assert refused_head(start).host == b""
    assert refused_head(start + b"\r\nHost: second\r\n").method == b"GET"
