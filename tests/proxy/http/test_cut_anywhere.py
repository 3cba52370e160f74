"""Connections that end after any byte, on either side: nothing is left, and nothing is made up."""

from __future__ import annotations

import pytest

from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, post, rigs

rig = pytest.fixture(rigs)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
UPGRADE = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello"
ENDS = ("close", "abort", "half_close")


def rest(r) -> None:
    """Nothing runs any more."""
    for server in r.backend.group.servers.values():
        assert (server.active, server.sessions) == (0, set())


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("request_", [GET, post(b"hello"), UPLOAD, UPGRADE])
def test_the_client_ends_anywhere(rig, request_: bytes, end: str) -> None:
    r = rig(app="passive = errors=1 count=connect,reset,timeout,junk")
    origin = r.raw()
    for cut in range(len(request_) + 1):
        client = r.client()
        client.send(request_[:cut])
        getattr(client, end)()
        r.advance(0.05)
        for server in origin.connections:
            server.abort()
        r.advance(0.05)
        rest(r)
        origin.connections.clear()
        if cut < len(request_):
            assert b" 200 " not in client.received
            assert not r.state().ejected, "a client that leaves says nothing about the server"
        client.abort()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize(
    ("request_", "answer"), [(GET, OK), (GET, CHUNKED), (post(b"hello"), OK), (UPGRADE, SWITCH)]
)
def test_the_server_ends_anywhere(
    rig, request_: bytes, answer: bytes, hedged: bool, end: str
) -> None:
    hedge = "hedge = 100ms\nhedge_share = 100%\nretry_on = connect reset junk" if hedged else ""
    r = rig(app=f"retries = 1\n{hedge}", servers=TWO_SERVERS)
    origins = [r.raw(A), r.raw(B)]
    for cut in range(len(answer) + 1):
        client = r.client()
        client.send(request_)
        r.advance(0.2 if hedged else 0)
        for _ in range(4):
            for origin in origins:
                for server in origin.connections:
                    if server.received and not server.closed:
                        server.send(answer[:cut])
                        getattr(server, end)()
            r.advance(0.05)
        head, _, body = client.received.partition(b"\r\n\r\n")
        whole = cut == len(answer)
        assert whole or b" 200 " not in head or not body.endswith((b"hi", b"0\r\nX: y\r\n\r\n"))
        assert not whole or head[9:12] in (b"200", b"101")
        client.abort()
        for origin in origins:
            for server in origin.connections:
                server.abort()
            origin.connections.clear()
        r.advance(0.05)
        rest(r)
