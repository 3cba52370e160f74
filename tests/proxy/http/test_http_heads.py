"""Single header fields on their way through, in both directions."""

from __future__ import annotations

import re

import pytest

from lbproxy.http.message import Reply
from tests.proxy.http_kit import GET, rigs

rig = pytest.fixture(rigs)


def request(*lines: str, start: str = "GET /x HTTP/1.1") -> bytes:
    return "\r\n".join([start, "Host: example.com", *lines, "", ""]).encode()


def response(*lines: str, start: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([start, "Content-Length: 2", *lines, "", "hi"]).encode()


# -- TE --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("te", "connection", "passes"),
    [
        ("trailers", "TE", True),
        ("Trailers", "keep-alive, te", True),
        ("gzip;q=0.5, trailers", "TE", True),
        ("trailers", "", True),
        ("gzip", "TE", False),
        ("xtrailers", "TE", False),
    ],
)
def test_te(rig, te, connection, passes):
    r = rig()
    lines = [f"Connection: {connection}"] if connection else []
    _, server = r.talk(request(f"TE: {te}", *lines))
    got = bytes(server.received)
    assert (b"\r\nTE: trailers\r\n" in got) is passes
    assert (b"\r\nConnection: TE\r\n" in got) is passes
    assert b"gzip" not in got


# -- Upgrade ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [True, False])
def test_426_keeps_its_upgrade(rig, keep):
    r = rig()
    client, server = r.talk(request(*([] if keep else ["Connection: close"])))
    lines = ("Connection: Upgrade", "Upgrade: TLS/1.3, HTTP/1.1")
    server.send(response(*lines, start="HTTP/1.1 426 Upgrade Required"))
    head = client.take()
    assert head.count(b"Upgrade: TLS/1.3, HTTP/1.1\r\n") == 1
    said = b"upgrade" if keep else b"upgrade, close"
    assert b"Connection: " + said + b"\r\n" in head


def test_426_of_a_filter(rig):
    class Require:
        def request(self, traffic):
            return Reply(426, b"", [(b"Upgrade", b"websocket")])

    r = rig(filters=[Require()])
    client = r.client()
    client.send(GET)
    assert b"Connection: upgrade\r\nUpgrade: websocket\r\n" in client.take()


def test_other_answers_lose_their_upgrade(rig):
    r = rig()
    client, server = r.talk()
    server.send(response("Connection: Upgrade", "Upgrade: h2,h2c"))
    assert b"Upgrade" not in client.take()


@pytest.mark.parametrize(
    ("policy", "asked", "sent"),
    [
        ("websocket", "websocket, foo/1", b"websocket"),
        ("websocket", "h2c, websocket", b"websocket"),
        ("any", "foo/1, h2c, bar", b"foo/1, bar"),
        ("any", "h2c-14, TLS/1.3", b""),
        ("none", "websocket, foo", b""),
    ],
)
def test_the_permitted_ones_of_a_list(rig, policy, asked, sent):
    r = rig(web=f"upgrade = {policy}")
    _, server = r.talk(request("Connection: Upgrade", f"Upgrade: {asked}"))
    got = bytes(server.received)
    if sent:
        assert b"Connection: upgrade\r\nUpgrade: " + sent + b"\r\n" in got
    else:
        assert b"pgrade" not in got


@pytest.mark.parametrize("chosen", ["h2c", "foo", "websocket, foo"])
def test_101_to_a_protocol_that_nobody_asked_for(rig, chosen):
    r = rig()
    client, server = r.talk(request("Connection: Upgrade", "Upgrade: websocket"))
    switch = f"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: {chosen}\r\n\r\n"
    server.send(switch.encode())
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert r.closes == ["bad_response"]
    client.send(GET)
    assert len(r.lb.origins["10.0.0.1:8000"].connections) <= 2


def test_101_to_one_of_several(rig):
    r = rig(web="upgrade = any")
    client, server = r.talk(request("Connection: Upgrade", "Upgrade: foo/2, foo/1"))
    server.send(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: FOO/1\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 101 ")


# -- Date ------------------------------------------------------------------------------------------


def dates(answer: bytes) -> list[bytes]:
    return re.findall(rb"\r\n[Dd]ate: ([^\r]*)", answer)


@pytest.mark.parametrize("status", ["200 OK", "304 x", "404 x", "500 x"])
def test_date_is_added_where_it_lacks(rig, status):
    r = rig()
    client, server = r.talk()
    server.send(
        response(start=f"HTTP/1.1 {status}").partition(b"hi")[0] + b"hi" * ("304" not in status)
    )
    (date,) = dates(client.take())
    assert date.endswith(b" GMT")


def test_a_date_that_came_stays(rig):
    r = rig()
    client, server = r.talk()
    server.send(response("date: Sat, 28 Nov 2026 12:00:00 GMT"))
    assert dates(client.take()) == [b"Sat, 28 Nov 2026 12:00:00 GMT"]


def test_interim_responses_get_no_date(rig):
    r = rig()
    client, server = r.talk()
    server.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    assert dates(client.take()) == []
    server.send(response())


def test_a_filter_may_have_the_list(rig):
    class Lists:
        def response(self, traffic):
            traffic.response.headers.append((b"X-A", b"b"))

    r = rig(filters=[Lists()])
    client, server = r.talk()
    server.send(response())
    assert len(dates(client.take())) == 1


# -- Host ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "host", "sent"),
    [
        ("GET / HTTP/1.1", "Example.COM:8080", b"Example.COM:8080"),
        ("GET / HTTP/1.1", "EXAMPLE.com:", b"example.com"),
        ("GET http://Other.com/ HTTP/1.1", "Example.COM", b"other.com"),
        ("GET http://Example.COM/ HTTP/1.1", "Example.COM", b"Example.COM"),
    ],
)
def test_the_host_as_it_was_sent(rig, start, host, sent):
    r = rig()
    _, server = r.talk(f"{start}\r\nHost: {host}\r\n\r\n".encode())
    got = bytes(server.received)
    assert re.findall(rb"(?i)\r\nHost: ([^\r]*)", got) == [sent]


def test_a_filter_sees_the_normal_host_and_may_change_it(rig):
    class Hosts:
        def request(self, traffic):
            assert traffic.request.host == b"example.com"
            assert traffic.request.header(b"host") == b"example.com"

    r = rig(filters=[Hosts()], app="host_header = Inner")
    _, server = r.talk(b"GET / HTTP/1.1\r\nHost: Example.COM\r\n\r\n")
    assert b"\r\nHost: Inner\r\n" in server.received


# -- white space in answers ------------------------------------------------------------------------


def test_blanks_that_some_servers_send(rig):
    r = rig()
    client, server = r.talk()
    server.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nX-A : b : c\r\n\r\n2  "
        b"\r\nhi\r\n0\r\n\r\n"
    )
    answer = client.take()
    assert b"\r\nX-A: b : c\r\n" in answer
    assert answer.endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    client.send(GET)
    server.send(response())
    assert client.take().endswith(b"hi")
    assert r.closes == ["ok", "ok"]


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n",
    ],
)
def test_the_same_in_requests_is_refused(rig, data):
    r = rig()
    r.raw()
    client = r.client()
    client.send(data)
    assert client.take().startswith(b"HTTP/1.1 400 ")
