"""Heads, profiles and traces of ``make count``; counting itself is not a test."""

from __future__ import annotations

from itertools import islice
from socket import create_connection

import h11
import pytest

from lbproxy.cache.memory import Memory
from tests.bench.heads import SAME_ANSWER, answers, asking_for, browser_requests, same
from tests.count.callgrind import total
from tests.count.filling import fill
from tests.count.measure import counted
from tests.count.rows import ROWS
from tests.count.strace import Strace
from tests.count.traffic import PING, Gate, Origin


@pytest.mark.parametrize("options", [{}, {"close": True}, {"method": "POST", "body": b"x" * 1024}])
def test_requests_of_a_browser_are_valid_and_differ(options):
    found = list(islice(browser_requests(1, **options), 100))
    assert found == list(islice(browser_requests(1, **options), 100))
    assert len(set(found)) == 100
    for request in found:
        server = h11.Connection(h11.SERVER)
        server.receive_data(request)
        event = server.next_event()
        assert isinstance(event, h11.Request)
        assert dict(event.headers)[b"host"] == b"www.example.com"
        while not isinstance(event, h11.EndOfMessage):
            event = server.next_event()
        assert server.trailing_data == (b"", False)


@pytest.mark.parametrize("size", [0, 65536])
def test_answers_are_valid_and_differ(size):
    found = list(islice(answers(1, size), 100))
    assert len(set(found)) == 100
    statuses = set()
    for answer in [*found, SAME_ANSWER]:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(answer)
        event = client.next_event()
        statuses.add(event.status_code)
        while not isinstance(event, h11.EndOfMessage):
            event = client.next_event()
        assert client.trailing_data == (b"", False)
    assert statuses == ({200} if size else {200, 304})


def test_same_head():
    assert same("/x") == same("/x")
    assert b"Connection: close\r\n" in same(close=True)
    assert same(method="POST", body=b"abc").endswith(b"Content-Length: 3\r\n\r\nabc")


def test_answers_that_a_cache_may_store():
    for answer in islice(answers(1, 1024, public=True), 100):
        head = answer.partition(b"\r\n\r\n")[0]
        assert b"\r\nCache-Control: public, max-age=" in head
        assert b"Set-Cookie" not in head


def test_another_target():
    assert asking_for(b"/b?c", b"GET /a HTTP/1.1\r\nHost: x y\r\n\r\n") == (
        b"GET /b?c HTTP/1.1\r\nHost: x y\r\n\r\n"
    )


def test_a_filled_store():
    memory = Memory(1 << 20)
    fill(memory, 50)
    assert len(memory) == 50
    assert memory.lookup((b"app", b"http", b"www.example.com", b"/filled/49"))
    with pytest.raises(RuntimeError, match="of 5000 responses"):
        fill(Memory(1 << 20), 5000)


def test_sum_of_a_profile():
    assert total("events: Ir\nfn=(1) f\n1 20\n\ntotals: 20 3\n") == 20
    with pytest.raises(ValueError, match="no sum"):
        total("events: Ir\n")


def test_calls_between_two_marks(tmp_path, monkeypatch):
    strace = Strace.__new__(Strace)
    strace._out = tmp_path / "strace.out"
    strace._out.write_text(
        '7 100.5 read(3, ""..., 1) = 1\n'
        '7 101.0 write(4, ""..., 1 <unfinished ...>\n'
        '8 101.1 read(3, ""..., 1) = 1\n'
        "7 101.2 <... write resumed>) = 1\n"
        "7 101.3 --- SIGSTOP {si_signo=SIGSTOP} ---\n"
        '7 102.5 read(3, ""..., 1) = 1\n'
        "7 102.6 +++ exited with 0 +++\n"
    )
    strace._pid = 7
    strace._moments = [100.0, 101.0, 102.0]
    assert strace.calls() == [{"read": 1}, {"write": 1, "read": 1}]
    monkeypatch.setattr("tests.count.strace.until", lambda ready, timeout: ready())
    strace._pid = 8
    with pytest.raises(RuntimeError, match="end of the process"):
        strace.calls()


def test_wake_ups_are_shown_and_not_counted():
    assert counted({"read": 2.0, "epoll_wait": 0.75, "write": 2.01}) == pytest.approx(4.01)


def test_the_origin_waits_for_a_batch():
    origin = Origin(None, Gate())
    origin.due = 2
    try:
        pair = [
            create_connection(("127.0.0.1", int(a.rpartition(":")[2])), 10)
            for a in origin.addresses
        ]
        pair[0].sendall(PING)
        pair[0].settimeout(0.2)
        with pytest.raises(TimeoutError):
            pair[0].recv(100)
        pair[1].sendall(PING)
        pair[0].settimeout(10)
        assert [sock.recv(100) for sock in pair] == [PING, PING]
        for sock in pair:
            sock.close()
    finally:
        origin.close()


def test_batches_fill_every_row():
    assert {row.units % 16 for row in ROWS.values()} == {0}
