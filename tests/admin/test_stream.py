"""Server-sent events: the state and its patches, events, slow and many clients."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.admin.stream import (
    HELD,
    HELD_BYTES,
    MAX_STREAMS,
    AdminStream,
    Follower,
    event,
    merge_patch,
)
from lbproxy.testing.memory import MemoryReactor

from .kit import AdminClient, admin

LEAF = (
    st.integers(0, 3)
    | st.booleans()
    | st.text(max_size=2)
    | st.lists(st.integers(0, 2), max_size=2)
)
DOCUMENT = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), LEAF, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner | LEAF, max_size=3),
)


def apply(document: Any, patch: Any) -> Any:
    """RFC 7396 §2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply(result.get(key), value)
    return result


@given(DOCUMENT, DOCUMENT)
def test_a_patch_makes_the_new_of_the_old(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch(old, new)
    assert apply(old, patch) == new
    assert (patch == {}) == (old == new)


def events(data: bytes) -> list[tuple[str, Any]]:
    """(kind, data) of each event in an answer, chunked or not."""
    found = []
    kind = ""
    for line in data.decode().splitlines():
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            found.append((kind, json.loads(line[6:])))
    return found


def follow(client: AdminClient, path: str = "stream", extra: str = "") -> Any:
    raw = client.lb.connect(client.target)
    raw.send(f"GET /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode())
    return raw


def test_the_state_then_what_changes() -> None:
    with admin() as client:
        raw = follow(client)
        first = events(raw.take())
        assert [kind for kind, _ in first] == ["state"]
        state = first[0][1]
        assert state["frontends"]["web"]["requests"] == 0
        client.lb.get("http://x/", frontend="web")
        client.lb.advance(1.0)
        (kind, patch), *more = events(raw.take())
        assert (kind, more) == ("patch", [])
        assert patch["frontends"]["web"]["requests"] == 1
        assert "mode" not in patch["frontends"]["web"], "only what changed"
        later = follow(client)
        second = events(later.take())[0][1]
        assert second == apply(state, patch), "all begin with the same document"
        client.lb.advance(1.0)
        assert [kind for kind, _ in events(raw.take())] == ["patch"]
        assert [kind for kind, _ in events(later.take())] == ["patch"]


def test_nobody_looks_when_nobody_follows() -> None:
    with admin() as client:
        asked = []
        states = client.lb.service.admin.states
        build = states._build
        states._build = lambda found: asked.append(1) or build(found)
        raw = follow(client)
        client.lb.advance(3.0)
        assert len(asked) == 4
        raw.close()
        client.lb.advance(5.0)
        assert len(asked) == 4
        assert client.get("state")["process"]["followers"] == 0


def test_a_client_that_takes_nothing_is_let_go_and_costs_little() -> None:
    with admin() as client:
        raw = follow(client)
        raw.pause()
        admin_side = client.lb.service.admin
        for number in range(400):
            client.lb.service.set_weight("app", "a", number)
            client.lb.service.events.add("changed", "x" * 2000, "y")
        other = follow(client, "events/stream?limit=1000")
        other.pause()
        for _ in range(2000):
            client.lb.service.events.add(client.lb.service.events.since(0)[0].kind, "x" * 200, "y")
        for _ in range(100):
            client.lb.advance(1.0)
        assert admin_side.followers <= 1
        assert client.get("whoami")


def test_too_many() -> None:
    with admin() as client:
        all_of_them = [follow(client) for _ in range(MAX_STREAMS)]
        answer = client.ask("GET", "stream")
        assert answer.status == 503
        all_of_them[0].close()
        assert b"text/event-stream" in follow(client).take()


def test_events_from_where_they_were_left() -> None:
    with admin() as client:
        raw = follow(client, "events/stream")
        numbers = [data["number"] for kind, data in events(raw.take()) if kind == "event"]
        client.lb.service.drain("app", "a")
        client.lb.advance(0)
        (_, told), *_ = events(raw.take())
        assert told["subject"] == "app/a"
        assert told["kind"] == "server_drain"
        raw.close()
        client.lb.service.ready("app", "a")
        again = follow(client, "events/stream", f"Last-Event-ID: {told['number']}\r\n")
        missed = [data["number"] for _, data in events(again.take())]
        assert missed == [told["number"] + 1]
        assert numbers


def test_stopping_cuts_them() -> None:
    with admin() as client:
        raw = follow(client)
        client.lb.close()
        assert raw.closed


def test_what_a_slow_follower_costs() -> None:
    """Kept up to a bound; then, or after some time, it is let go; whatever comes first, what begins
    also ends.
    """
    reactor = MemoryReactor()
    written: list[bytes] = []
    closed: list[int] = []
    ended: list[int] = []
    stream = AdminStream(lambda follower: lambda: ended.append(1))

    def begin() -> Follower:
        follower = Follower(written.append, lambda: closed.append(1), reactor.callLater)
        follower.start(stream)
        return follower

    one = begin()
    one.pauseProducing()
    one.pauseProducing()
    del written[:]
    for number in range(10):
        one.send(event("x", number))
    assert not one.replace(b"all")
    assert written == []
    one.resumeProducing()
    assert [data for _, data in events(b"".join(written))] == list(range(10))
    one.pauseProducing()
    for number in range(HELD + 1):
        one.send(event("x", number))
    assert (len(closed), len(ended)) == (1, 1)
    other = begin()
    other.pauseProducing()
    reactor.advance(31)
    assert (len(closed), len(ended)) == (2, 2)
    other.stop()
    other.resumeProducing()
    other.send(b"late")
    assert len(closed) == 2
    assert not [call for call in reactor.getDelayedCalls() if call.active()]


def test_a_slow_follower_is_bounded_by_bytes_too() -> None:
    """Records may have long targets; after it has read, it has the same room again."""
    reactor = MemoryReactor()
    closed: list[int] = []
    follower = Follower(lambda data: None, lambda: closed.append(1), reactor.callLater)
    follower.start(AdminStream(lambda follower: lambda: None))
    for _ in range(2):
        follower.pauseProducing()
        for _ in range(HELD_BYTES // 8192):
            follower.send(b"x" * 8192)
        assert closed == []
        follower.resumeProducing()
    follower.pauseProducing()
    for _ in range(HELD_BYTES // 8192 + 1):
        follower.send(b"x" * 8192)
    assert closed == [1]
