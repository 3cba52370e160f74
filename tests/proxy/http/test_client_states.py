"""The states of a client connection: the steps that scripts take, and the table of them.

A fixture holds every other test of this folder to the table.
"""

from __future__ import annotations

import itertools

import pytest

from lbproxy.proxy.http import clientstate
from lbproxy.proxy.http.clientstate import NAMES, NEXT
from tests.proxy.http_kit import GET, OK, post, rigs

rig = pytest.fixture(rigs)

UPGRADE = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
EXPECT = post(length=2, headers="Expect: 100-continue\r\n")


def path(steps: list[tuple[str, str]]) -> list[str]:
    """The states in order; each step begins where the one before ended."""
    for one, other in itertools.pairwise(steps):
        assert one[1] == other[0]
    return [steps[0][0], *(after for _, after in steps)]


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("script", "states"),
    [
        ((GET, OK), "idle answering idle"),
        ((GET[:9], GET[9:], OK), "idle head answering idle"),
        ((post(b"a", length=2), b"b", OK), "idle body answering idle"),
        ((EXPECT, b"HTTP/1.1 100 C\r\n\r\n", b"ab", OK), "idle expecting body answering idle"),
        ((EXPECT, b"ab", OK), "idle expecting body answering idle"),
        ((UPGRADE, SWITCH), "idle switching tunnel"),
        ((UPGRADE, OK), "idle switching idle"),
        ((b"nonsense\r\n\r\n",), "idle refused lingering"),
        ((post(b"a", length=2), OK), "idle body lingering"),
    ],
)  # fmt: skip
def test_steps(rig, client_steps, script: tuple[bytes, ...], states: str) -> None:
    r = rig()
    raw = r.raw()
    client = r.client()
    for data in script:
        if data.startswith(b"HTTP/1.1"):
            raw.connections[0].send(data)
        else:
            client.send(data)
    steps = [step for step in client_steps if step[0] != step[1]]
    expected = states.split()
    assert path(steps) == expected
    client.abort()
    assert client_steps[-1][1] == "closed"


@pytest.mark.interpreted
def test_the_end_of_a_slow_client(rig, client_steps) -> None:
    r = rig()
    client = r.client()
    client.send(b"nonsense\r\n\r\n")
    client.pause()
    r.advance(2.1)
    assert path(client_steps)[-2:] == ["closing", "closed"]


def test_the_table_is_whole() -> None:
    assert sorted(NEXT) == list(range(len(NAMES)))
    assert all(clientstate.CLOSED in following for following in NEXT.values())
    reached = set().union(*NEXT.values())
    assert reached == set(NEXT)
