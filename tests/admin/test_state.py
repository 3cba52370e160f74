"""The state of many servers is created in slices, and is the same document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbproxy.admin.state import EVERY, SLICE

from .kit import AdminClient, admin

SERVERS = SLICE * 2 + 7
LINES = "".join(
    f"    s{number} 10.0.{number // 250}.{number % 250 + 1}:80\n" for number in range(SERVERS)
)
TEXT = f"""\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

[frontend web]
listen = tcp:8080
backend = app

[backend app]
servers =
{LINES}
[backend other]
mode = http
servers = a 10.1.0.1:80
"""


@pytest.fixture
def many() -> Iterator[AdminClient]:
    with admin(TEXT) as asked:
        yield asked


def test_slices_make_the_document(many: AdminClient) -> None:
    states = many.lb.service.admin.states
    slices = list(states.slices())
    assert max(map(len, slices)) < sum(map(len, slices)) / 2
    whole, made = states.document(), json.loads(b"".join(slices))
    for one in (whole, made):
        del one["at"]
        one["process"] = sorted(one["process"])
    assert made == whole and len(made["servers"]) == SERVERS + 1
    assert many.get("state")["servers"].keys() == whole["servers"].keys()


def test_a_document_takes_several_turns(many: AdminClient) -> None:
    client = many.lb.connect(many.target)
    states = many.lb.service.admin.states
    turns = 0
    count = states._slice

    def counted(*words: object) -> None:
        nonlocal turns
        turns += 1
        count(*words)

    states._slice = counted
    client.send(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"event: state" in client.take()
    assert turns == 3
    many.lb.advance(EVERY)
    assert b"event: patch" in client.take()
    assert turns == 6
    client.close()
    many.lb.advance(0)
    assert states._call is None and states._turn is None


def test_a_state_file_that_cannot_be_written_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "none" / "state.json"
    text = TEXT.replace("[lbproxy]\n", f"[lbproxy]\nstate = {path}\n")
    with admin(text) as client:
        wanted = f"folder {path.parent} does not exist or is not writable"
        assert client.get("drift")["error"] == wanted, "before the first change"
        assert client.get("state")["drift"]["error"] == wanted
        client.ask("PATCH", "backends/app/servers/s1", {"weight": 5})
        client.lb.advance(2)
        path.parent.mkdir()
        client.ask("PATCH", "backends/app/servers/s1", {"weight": 6})
        client.lb.advance(2)
        assert client.get("drift")["error"] == "" and path.exists()
