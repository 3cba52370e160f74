"""A client that does not read has ``timeout_client``, whatever else it does meanwhile.

As in nginx (``send_timeout``) and HAProxy (``timeout client`` of the sending direction), bytes that
the client sends do not renew this deadline, and it is not cut off for a slow request body.
"""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.errors import Kind
from tests.proxy.http_kit import post, rigs

rig = pytest.fixture(rigs)

BIG = 2_000_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG


def unread(r: Any) -> tuple[Any, Any]:
    """A client amid its body that does not read the response, which is larger than all buffers."""
    client, server = r.talk(post(length=1_000_000) + b"begin")
    client.pause()
    server.send(HEAD + bytes(BIG))
    r.advance(0.1)
    assert r.frontend.lineage.clients
    return client, server


def last(r: Any) -> Kind:
    kind: Kind = r.log[-1].close
    return kind


def test_sending_does_not_renew_the_deadline_of_reading(rig: Any) -> None:
    r = rig(web="timeout_client = 5s\ntimeout_body = 30s")
    client, _ = unread(r)
    for _ in range(24):
        r.advance(0.5)
        client.send(b"more")
    assert not r.clients and last(r) is Kind.CLIENT_STALLED


def test_neither_does_the_flow_of_the_request(rig: Any) -> None:
    r = rig(web="timeout_client = 5s\ntimeout_body = 30s")
    unread(r)
    (connection,) = r.frontend.lineage.clients
    for _ in range(24):
        connection.pause_request()
        r.advance(0.5)
        connection.resume_request()
    assert not r.clients and last(r) is Kind.CLIENT_STALLED


def test_a_slow_reader_is_no_slow_sender(rig: Any) -> None:
    r = rig(web="timeout_client = 20s\ntimeout_body = 2s")
    client, _ = unread(r)
    client.send(b"more")
    r.advance(10)
    assert not client.closed
    client.resume()
    r.advance(0.5)
    client.send(bytes(1_000_000 - len(b"beginmore")))
    r.advance(1)
    assert len(client.received.partition(b"\r\n\r\n")[2]) == BIG
    assert last(r) is Kind.OK


def test_once_it_reads_the_deadline_of_its_body_holds_again(rig: Any) -> None:
    r = rig(web="timeout_client = 20s\ntimeout_body = 2s")
    client, server = r.talk(post(length=1_000_000) + b"begin")
    client.pause()
    server.send(HEAD + bytes(BIG - 1))
    r.advance(10)
    client.resume()
    r.advance(1.5)
    assert not client.closed
    r.advance(1)
    assert client.closed and last(r) is Kind.CLIENT_TIMEOUT


def test_a_head_behind_an_unread_response_does_not_either(rig: Any) -> None:
    r = rig(web="timeout_client = 5s\ntimeout_header = 60s")
    client, server = r.talk(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    client.pause()
    server.send(HEAD + bytes(BIG))
    r.advance(0.1)
    client.send(b"GET /next HT")
    r.advance(11)
    assert not r.clients and last(r) is Kind.CLIENT_STALLED
