"""Deadlines, and either side leaving at every phase of an exchange."""

from __future__ import annotations

import pytest

from lbproxy.errors import Kind
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, post, rigs

rig = pytest.fixture(rigs)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


def status(client) -> bytes:
    return client.received[9:12]


# -- deadlines


def test_body_stalls(rig):
    r = rig(web="timeout_body = 5s")
    raw = r.raw()
    client = r.client()
    client.send(post(b"x", length=10))
    for _ in range(3):
        r.advance(4.9)
        client.send(b"x")
    assert client.received == b""
    r.advance(5.1)
    assert status(client) == b"408"
    assert raw.connections[0].closed
    assert r.closes == ["client_timeout"]
    assert r.state().counters.failed == 0


def test_body_stalls_after_the_answer_began(rig):
    r = rig(web="timeout_body = 5s")
    raw = r.raw()
    client = r.client()
    client.send(post(b"x", length=10))
    raw.connections[0].send(HEAD)
    r.advance(5.1)
    assert client.reset
    assert r.closes == ["client_timeout"]


def test_no_response_in_time(rig):
    r = rig(app="timeout_response = 5s")
    client, server = r.talk()
    r.advance(4.9)
    server.send(b"HTTP/1.1 200 ")
    r.advance(0.2)
    assert status(client) == b"504"
    assert server.closed
    assert r.closes == ["response_timeout"]
    assert r.state().counters.failed == 1
    assert not client.finished


def test_the_response_deadline_starts_when_the_request_is_complete(rig):
    r = rig(app="timeout_response = 5s")
    raw = r.raw()
    client = r.client()
    client.send(post(b"x", length=2))
    r.advance(20)
    client.send(b"y")
    r.advance(4.9)
    raw.connections[0].send(OK)
    assert status(client) == b"200"


def test_a_silence_in_mid_answer_cuts_it(rig):
    r = rig(app="timeout_server = 5s")
    client, server = r.talk()
    server.send(HEAD + b"12345")
    r.advance(4.9)
    server.send(b"6")
    r.advance(4.9)
    assert not client.closed
    r.advance(0.2)
    assert client.reset
    assert server.closed
    assert r.closes == ["server_timeout"]
    assert r.state().counters.failed == 1


def test_a_server_that_does_not_read_has_a_deadline(rig):
    r = rig(app="timeout_server = 5s")
    raw = r.raw()
    client = r.client()
    client.send(post(length=900_000))
    raw.connections[0].pause()
    client.send(b"x" * 900_000)
    r.advance(5.1)
    assert status(client) == b"504"
    assert r.closes == ["server_timeout"]


def test_a_client_that_does_not_read_has_a_deadline(rig):
    r = rig(web="timeout_client = 5s", app="timeout_server = 2s")
    client, server = r.talk()
    client.pause()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000)
    r.advance(4.9)
    assert r.log == []
    r.advance(5.3)  # what the system took in the meantime counted as reading
    assert r.closes == ["client_stalled"]
    assert server.closed
    assert r.state().counters.failed == 0


def test_a_client_that_reads_slowly_is_not_stalled(rig):
    r = rig(web="timeout_client = 5s")
    client, server = r.talk()
    client.pause()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    client.transport.window = 8192
    client.transport.read_size = 8192
    server.send(b"x" * 1_000_000)
    for _ in range(30):
        r.advance(4)
        before = len(client.received)
        client.transport.startReading()
        while len(client.received) == before and r.lb.reactor._ready:
            work, args, kw = r.lb.reactor._ready.popleft()
            work(*args, **kw)
        client.transport.stopReading()
    assert len(client.received) < 400_000
    assert r.log == []


# -- the client leaves


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("phase", ["dial", "sent", "uploading", "headed", "answering"])
def test_client_leaves(rig, phase, how):
    r = rig(web="abort_on_close = no", app="timeout_connect = 5s\nretries = 0")
    raw = r.raw()
    client = r.client()
    if phase == "dial":
        r.lb.reactor.blackhole("10.0.0.1")
    client.send(post(b"x", length=10) if phase == "uploading" else GET)
    if phase == "headed":
        raw.connections[0].send(HEAD)
    if phase == "answering":
        raw.connections[0].send(HEAD + b"12345")
    getattr(client, how)()
    if how == "close" and phase not in ("uploading",):
        # a FIN alone may be a half-close: the answer is finished, then the client is gone
        r.lb.reactor.heal()
        r.advance(6)
        if raw.connections and phase != "dial":
            raw.connections[0].send(
                OK if phase == "sent" else b"67890 more"[: 5 if phase == "answering" else 10]
            )
    r.advance(0)
    assert r.clients == 0
    assert r.state().active == 0
    assert r.state().counters.failed == (1 if phase == "dial" and how == "close" else 0)
    assert len(r.log) == 1
    if how == "abort" or phase == "uploading":
        assert r.closes == ["client_gone"]
        assert all(connection.closed for connection in raw.connections)


# -- the server leaves, or talks nonsense


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize(
    ("sent", "kind", "seen"),
    [
        (b"", Kind.SERVER_GONE, b"502"),
        (b"HTT", Kind.SERVER_GONE, b"502"),
        (b"HTTP/1.1 200 OK\r\nContent-Len", Kind.SERVER_GONE, b"502"),
        (HEAD, Kind.SERVER_GONE, b"200"),
        (HEAD + b"12345", Kind.SERVER_GONE, b"200"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", Kind.SERVER_GONE,
            b"200"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Kind.SERVER_GONE,
            b"200"),
    ],
)  # fmt: skip
def test_server_leaves(rig, sent, kind, seen, how):
    r = rig(app="retries = 0")
    client, server = r.talk()
    if sent:
        server.send(sent)
    getattr(server, how)()
    assert status(client) == seen
    assert r.closes == [kind.value]
    assert r.state().counters.failed == 1
    if seen == b"200":
        assert client.reset
        assert not client.received.endswith(b"\r\n0\r\n\r\n")
    else:
        assert not client.finished


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        b"HTTP/1.1 103 A\r\n\r\n" * 101,
    ],
)
def test_server_talks_nonsense(rig, sent):
    r = rig()
    client, server = r.talk()
    server.send(sent)
    last = client.received.rindex(b"HTTP/1.1 ")
    assert client.received[last + 9 : last + 12] == b"502"
    assert server.closed
    assert r.closes == ["bad_response"]
    assert r.state().counters.failed == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("body", [b"3\r\nabcdef", b"zz\r\n", b"3\r\nabc\r\nzz\r\n"])
def test_nonsense_in_the_body_cuts(rig, body):
    r = rig()
    client, server = r.talk()
    server.send(CHUNKED)
    server.send(body)
    assert client.received.startswith(b"HTTP/1.1 200 ")
    assert client.reset
    assert r.closes == ["bad_response"]


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
@pytest.mark.parametrize("body", [b"3\r\nabcdef", b"zz\r\n", b"3\r\nabc\r\nzz\r\n"])
def test_nonsense_that_comes_with_the_head_is_a_502(rig, body, interim):
    """As HAProxy does: nothing of the response has been sent, so there can be an error page."""
    r = rig()
    client, server = r.talk()
    server.send(interim + CHUNKED + body)
    assert client.received.count(b" 103 ") == bool(interim)
    assert client.received.count(b"HTTP/1.1 502 ") == 1
    assert b" 200 " not in client.received
    assert not client.finished
    assert server.closed
    assert r.closes == ["bad_response"]
    assert r.state().counters.failed == 1


def test_nonsense_that_comes_with_the_head_is_tried_again(rig):
    r = rig(app="retry_on = junk", servers=TWO_SERVERS)
    first, second = r.raw(), r.raw(B)
    client = r.client()
    client.send(GET)
    (one,) = first.connections + second.connections
    one.send(CHUNKED + b"zz\r\n")
    r.advance(1)
    (other,) = [c for c in first.connections + second.connections if c is not one]
    other.send(OK)
    assert client.received.endswith(b"hi")
    assert r.closes == ["ok"]


# -- operators


@pytest.mark.parametrize("phase", ["sent", "answering"])
def test_on_down_close(rig, phase):
    r = rig(app="on_down = close\nretries = 0")
    client, server = r.talk()
    if phase == "answering":
        server.send(CHUNKED + b"123")
    r.backend.group.set_health(r.state(), False)
    r.advance(0)
    assert server.closed
    assert r.closes == ["server_down"]
    assert client.reset if phase == "answering" else status(client) == b"503"
    assert r.state().counters.failed == 0


def test_on_down_close_tries_another_server(rig):
    r = rig(app="on_down = close", servers=f"a {A}\nb 10.0.0.2:8000 backup")
    r.lb.origin("b", "10.0.0.2:8000", b"from b")
    client, _ = r.talk()
    r.backend.group.set_health(r.state(), False)
    r.advance(0)
    assert client.received.endswith(b"from b")


def test_sessions_may_be_killed(rig):
    r = rig()
    client, _ = r.talk()
    assert r.backend.kill_sessions(r.state()) == 1
    r.advance(0)
    assert status(client) == b"503"
    assert r.closes == ["session_killed"]


def test_stopping_lets_exchanges_finish(rig):
    r = rig()
    client, server = r.talk()
    idle = r.client()
    r.lb.service.stopService()
    r.advance(0.1)
    assert idle.finished
    server.send(OK)
    assert b"Connection: close" in client.received
    assert client.received.endswith(b"hi")
    assert client.finished
    assert server.finished
    assert r.closes == ["ok"]


def test_stopping_cuts_off_what_takes_too_long(rig):
    r = rig()
    client, server = r.talk()
    r.lb.service.stopService()
    r.advance(10.2)
    assert client.closed
    assert server.closed
    assert r.closes == ["shutdown"]
