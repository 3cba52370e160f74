"""The states of a connection to a server; a fixture holds every test here to the table."""

from __future__ import annotations

import pytest

from lbproxy.proxy.http.serverstate import CLOSING, NAMES, NEXT
from tests.proxy.http_kit import GET, OK, post, rigs

rig = pytest.fixture(rigs)

UPGRADE = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
EXPECT = post(length=2, headers="Expect: 100-continue\r\n")
BIG = b"HTTP/1.1 413 Large\r\nContent-Length: 3\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 C\r\n\r\n"
LAST = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
TWICE = "idle awaiting answering idle awaiting answering idle"
DECLINED = "idle expecting declined early answering idle"
SENDING = "idle expecting sending awaiting answering idle"


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("script", "states"),
    [
        ((GET, OK), "idle awaiting answering idle"),
        ((GET, OK[:-1], bytearray(OK[-1:]), GET, OK), TWICE),
        ((post(b"a", length=2), b"b", OK), "idle sending awaiting answering idle"),
        ((post(b"a", length=2), BIG, b"b", bytearray(b"big")), "idle sending early answering idle"),
        ((EXPECT, CONTINUE, b"ab", OK), SENDING),
        ((EXPECT, b"ab", OK), SENDING),
        ((EXPECT, BIG + b"big"), "idle expecting declined closing"),
        ((EXPECT, BIG, b"a", b"b", bytearray(b"big")), DECLINED),
        ((UPGRADE, SWITCH), "idle awaiting tunnel"),
        ((GET, LAST), "idle awaiting answering closing"),
        ((GET, b"HTTP/1.1 nonsense\r\n\r\n"), "idle awaiting closing"),
    ],
)  # fmt: skip
def test_steps(rig, server_steps, script: tuple[bytes | bytearray, ...], states: str) -> None:
    """The server sends what begins with ``HTTP/1.1`` or is a bytearray, the client the rest."""
    r = rig(app="retries = 0")
    raw = r.raw()
    client = r.client()
    for data in script:
        if type(data) is bytearray or data.startswith(b"HTTP/1.1"):
            raw.connections[0].send(bytes(data))
        else:
            client.send(data)
    steps = [step for step in server_steps if step[0] != step[1]]
    assert [steps[0][0], *(after for _, after in steps)] == states.split()


def test_the_server_has_a_deadline_after_it_declined_a_body(rig) -> None:
    """The client may never send the body, so no deadline of the client runs."""
    r = rig(app="timeout_server = 3s\ntimeout_response = 5s")
    raw = r.raw()
    client = r.client()
    client.send(EXPECT)
    raw.connections[0].send(BIG)
    r.advance(5.2)
    assert raw.connections[0].closed
    assert r.closes == ["server_timeout"]


def test_the_table_is_whole() -> None:
    assert sorted(NEXT) == list(range(len(NAMES)))
    assert all(CLOSING in following for following in NEXT.values())
    assert set().union(*NEXT.values()) == set(NEXT)
