"""Request methods and versions: which ones pass, and where OPTIONS and TRACE end."""

from __future__ import annotations

import pytest

from tests.proxy.http_kit import GET, OK, rigs

rig = pytest.fixture(rigs)


def request(method: str, *lines: str, version: str = "1.1") -> bytes:
    head = [f"{method} /x HTTP/{version}", "Host: example.com", *lines, "", ""]
    return "\r\n".join(head).encode()


def talk(r, data):
    """The answer to ``data``, and what the server got; OK is the server's answer."""
    server = r.raw()
    client = r.client()
    client.send(data)
    if not server.connections:
        return client.take(), b""
    server.connections[0].send(OK)
    return client.take(), bytes(server.connections[0].received)


@pytest.mark.parametrize("method", ["VERSION-CONTROL", "UPDATE", "BAN", "RPC_IN_DATA", "get", "x!"])
def test_any_token_is_a_method(rig, method):
    answer, got = talk(rig(), request(method))
    assert answer.endswith(b"hi")
    assert got.startswith(f"{method} /x HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(("method", "status"), [("PRI", 501), ("M" * 33, 501), ("G(T", 400)])
def test_what_is_no_method(rig, method, status):
    answer, got = talk(rig(), request(method))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert got == b""


@pytest.mark.parametrize("version", ["1.2", "1.9"])
def test_a_higher_minor_version_is_1_1_both_ways(rig, version):
    r = rig()
    client, server = r.talk(request("GET", version=version))
    assert server.received.startswith(b"GET /x HTTP/1.1\r\n")
    server.send(OK.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
    assert client.take().startswith(b"HTTP/1.1 200 ")
    client.send(GET)  # both connections are kept
    server.send(OK)
    assert client.take().endswith(b"hi")


def test_methods_restricts(rig):
    r = rig(web="methods = GET HEAD BAN")
    answer, got = talk(r, request("POST", "Content-Length: 0"))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD, BAN\r\n" in answer
    assert got == b""
    assert r.closes == ["method_refused"]


@pytest.mark.parametrize("method", ["GET", "BAN"])
def test_what_methods_names_passes(rig, method):
    answer, _ = talk(rig(web="methods = GET HEAD BAN"), request(method))
    assert answer.endswith(b"hi")


def test_trace_is_refused_unless_it_is_wanted(rig):
    answer, got = talk(rig(), request("TRACE"))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"TRACE" not in answer.partition(b"Allow:")[2]
    assert got == b""
    _, got = talk(rig(web="trace = yes"), request("TRACE"))
    assert got.startswith(b"TRACE /x ")


@pytest.mark.parametrize("line", ["Content-Length: 1", "Transfer-Encoding: chunked"])
def test_a_trace_has_no_body(rig, line):
    answer, got = talk(rig(web="trace = yes"), request("TRACE", line))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert got == b""


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_max_forwards_counts_down(rig, method):
    _, got = talk(rig(web="trace = yes"), request(method, "Max-Forwards: 3"))
    assert got.count(b"Max-Forwards: 2\r\n") == 1
    assert b"Max-Forwards: 3" not in got


def test_max_forwards_is_for_these_two(rig):
    _, got = talk(rig(), request("GET", "Max-Forwards: 0"))
    assert b"Max-Forwards: 0\r\n" in got


def test_options_ends_here(rig):
    r = rig(web="methods = GET OPTIONS")
    answer, got = talk(r, request("OPTIONS", "Max-Forwards: 0"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Allow: GET, OPTIONS\r\n" in answer
    assert got == b""
    assert r.closes == ["replied"]


def test_trace_ends_here_and_shows_no_secrets(rig):
    lines = ("Max-Forwards: 0", "Cookie: a=secret", "Authorization: Basic secret", "X-A: b")
    answer, got = talk(rig(web="trace = yes"), request("TRACE", *lines))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: message/http" in head
    assert body.startswith(b"TRACE /x HTTP/1.1\r\nHost: example.com\r\n")
    assert b"X-A: b\r\n" in body
    assert b"secret" not in body
    assert got == b""


@pytest.mark.parametrize("lines", [("x",), ("-1",), ("1", "2"), ("9" * 10,)])
def test_malformed_max_forwards(rig, lines):
    data = request("OPTIONS", *(f"Max-Forwards: {value}" for value in lines))
    answer, got = talk(rig(), data)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert got == b""
