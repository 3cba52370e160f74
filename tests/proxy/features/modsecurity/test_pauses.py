"""Pauses around a verdict of libmodsecurity, without a process: who is stopped, and until when."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from lbproxy.http.message import END, End, RequestHead, ResponseHead
from lbproxy.proxy.features.waf.modsecurity.held import JudgedBody
from lbproxy.proxy.http.sink import Asking

LIMIT = 4
HEAD = ResponseHead(200, [(b"Content-Type", b"text/plain")], b"OK", length=None)


class Client(Asking):
    """The exchange: notes pauses of the client's body, and the response."""

    def __init__(self) -> None:
        request = RequestHead(b"POST", b"/", [], host=b"h", scheme=b"http", length=None)
        super().__init__(SimpleNamespace(request=request))  # type: ignore[arg-type]
        self.calls: list[Any] = []

    def server_paused(self) -> None:
        self.calls.append("stop")

    def server_resumed(self) -> None:
        self.calls.append("go on")

    def server_events(self, events: list[Any]) -> None:
        self.calls += [event for event in events if isinstance(event, bytes)]


class Server:
    """The source behind, and its stream: notes what it gets."""

    queued = False

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.sink: Any = None
        self.at_once: list[Any] = []  # delivered while it begins

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Any) -> Server:
        self.calls.append((data, end is not None))
        self.sink = sink
        if self.at_once:
            sink.server_events(self.at_once)
        return self

    def send_body(self, data: bytes, end: End | None) -> None:
        self.calls.append((data, end is not None))

    def pause_response(self) -> None:
        self.calls.append("pause")

    def resume_response(self) -> None:
        self.calls.append("resume")

    def close(self, *, reuse: bool) -> None:
        self.calls.append("close")


class World:
    """One held request, its client, its server and the open questions."""

    def __init__(self, responses: bool = False) -> None:
        self.client, self.server = Client(), Server()
        self.asked: list[Callable[..., None]] = []
        pool = SimpleNamespace(enter=lambda one: None, leave=lambda one: None)
        firewall = SimpleNamespace(
            pool=pool,
            spec=SimpleNamespace(body_limit=LIMIT, responses=responses),
            ask=lambda *arguments: self._ask(arguments[-1]),
            ask_response=lambda *arguments: self._ask(arguments[-1]),
            act=lambda *arguments: None,
            act_on_response=lambda *arguments: None,
            over_limit=lambda counters: None,
        )
        source: Any = SimpleNamespace(
            firewall=firewall, counters=None, inner=self.server, body_limit=LIMIT
        )
        head = self.client.traffic.request
        self.stream = JudgedBody(source, head, b"", self.client)

    def _ask(self, answered: Callable[..., None]) -> Any:
        self.asked.append(answered)
        return SimpleNamespace(cancel=lambda: None)

    def verdict(self) -> None:
        self.asked.pop()(None, "")


@pytest.fixture
def world() -> World:
    return World()


def test_a_client_with_more_body_is_stopped_until_the_verdict(world: World) -> None:
    world.stream.send_body(b"12345", None)
    assert world.client.calls == ["stop"] and world.server.calls == []
    world.stream.send_body(b"67", None)
    assert world.client.calls == ["stop"], "once"
    world.verdict()
    assert world.client.calls == ["stop", "go on"]
    assert world.server.calls == [(b"1234567", False)]
    world.stream.send_body(b"8", END)
    assert world.server.calls[1:] == [(b"8", True)]


def test_a_client_that_has_sent_everything_is_not_stopped(world: World) -> None:
    world.stream.send_body(b"123", END)
    world.verdict()
    assert world.client.calls == [] and world.server.calls == [(b"123", True)]


def test_body_that_comes_after_the_question_stops_the_client(world: World) -> None:
    world.client.traffic.request.length = 3
    world.stream.complete(b"123", None, whole=False)
    assert world.client.calls == [], "all of the body is here, its end may follow"
    world.stream.send_body(b"4", None)
    assert world.client.calls == ["stop"]
    world.verdict()
    assert world.client.calls == ["stop", "go on"]
    assert world.server.calls == [(b"1234", False)]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_client_that_takes_nothing_during_the_verdict(world: World, resumed: bool) -> None:
    world.stream.send_body(b"1", END)
    world.stream.pause_response()
    if resumed:
        world.stream.resume_response()
    world.verdict()
    assert world.server.calls == [(b"1", True), *([] if resumed else ["pause"])]


def judged_response(at_once: list[Any]) -> World:
    world = World(responses=True)
    world.server.at_once = at_once
    world.stream.send_body(b"1", END)
    world.verdict()
    return world


@pytest.mark.parametrize("early", [False, True])
def test_the_server_is_paused_until_the_verdict_about_its_response(early: bool) -> None:
    begun = [HEAD, b"12345"]
    world = judged_response(begun if early else [])
    if not early:
        world.server.sink.server_events(begun)
    assert world.server.calls[1:] == ["pause"] and world.client.calls == []
    world.verdict()
    assert world.server.calls[1:] == ["pause", "resume"] and world.client.calls == [b"12345"]


def test_a_slow_client_keeps_the_server_paused_after_the_verdict() -> None:
    world = judged_response([])
    world.server.sink.server_events([HEAD, b"12345"])
    world.stream.pause_response()
    world.verdict()
    assert "resume" not in world.server.calls
    world.stream.resume_response()
    assert world.server.calls[-1] == "resume"


def test_a_client_that_takes_more_does_not_resume_a_server_that_waits_for_a_verdict() -> None:
    world = judged_response([])
    world.server.sink.server_events([HEAD, b"12345"])
    world.stream.pause_response()
    world.stream.resume_response()
    assert "resume" not in world.server.calls
    world.verdict()
    assert world.server.calls[-1] == "resume"


def test_a_response_that_is_complete_pauses_nobody() -> None:
    world = judged_response([])
    world.server.sink.server_events([HEAD, b"1", END])
    world.verdict()
    assert world.server.calls[1:] == [] and world.client.calls == [b"1"]
