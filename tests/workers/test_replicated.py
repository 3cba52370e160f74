"""Shared state through the master: two workers and their hub, here in one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from lbproxy.sharing.contracts import Rate, SharedStateError
from lbproxy.workers import replicated
from lbproxy.workers.replicated import Hub, MasterReplicated
from lbproxy.workers.rpc import PATIENCE

RATE = Rate(amount=1, seconds=1.0, burst=2)


class Line:
    """A channel that delivers at once, through JSON; or, while ``behind``, keeps."""

    def __init__(self, deliver: Callable[[dict[str, Any]], None]) -> None:
        self.deliver = deliver
        self.behind = 0
        self.cut = False

    def send(self, message: dict[str, Any]) -> None:
        if not self.cut:
            self.deliver(json.loads(json.dumps(message)))


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.hub = Hub(self.clock, self.clock.seconds)
        self.down: list[Line] = []
        self.up: list[Line] = []
        self.workers: list[MasterReplicated] = []

    def worker(self) -> MasterReplicated:
        slot = len(self.workers)
        up: Any = Line(lambda message: self.hub.received(slot, message))
        made = MasterReplicated(self.clock, up)

        def receive(message: dict[str, Any]) -> None:
            if message["type"] == "publish":
                made.received(message["topic"], message["message"])
            else:
                made.answered(message["number"], message["answer"])

        down: Any = Line(receive)
        self.workers.append(made)
        self.up.append(up)
        self.down.append(down)
        self.hub.attach(slot, down)
        return made


@pytest.fixture
def scene() -> Scene:
    return Scene()


def result(awaitable: Any) -> Any:
    got: list[Any] = []
    done: Deferred[Any] = ensureDeferred(awaitable)
    done.addBoth(got.append)
    return got[0] if got else None


def test_limits_leases_and_values_are_those_of_all(scene: Scene) -> None:
    one, two = scene.worker(), scene.worker()
    assert [result(w.take("k", 1, RATE)) for w in (one, two, one)] == [0.0, 0.0, 1.0]
    assert result(one.lease("acme", 30)) is True
    assert result(two.lease("acme", 30)) is False
    scene.hub.detach(0)
    assert result(two.lease("acme", 30)) is True, "the dead hold nothing"
    result(two.put("k", {"a": [1]}))
    assert result(two.get("k")) == {"a": [1]}
    result(two.release("acme"))
    assert scene.hub.store.lease("acme", "me", 1)


def test_a_wrong_call_is_an_error_of_the_caller(scene: Scene) -> None:
    one = scene.worker()
    failure = result(one.take("k", 3, RATE))
    assert failure.check(SharedStateError) and "burst" in str(failure.value)


def test_a_master_that_does_not_answer(scene: Scene) -> None:
    one = scene.worker()
    scene.up[0].cut = True
    got: list[Any] = []
    ensureDeferred(one.get("k")).addErrback(lambda failure: got.append(failure.value))
    scene.clock.advance(PATIENCE)
    assert isinstance(got[0], SharedStateError)
    ensureDeferred(one.get("k")).addErrback(lambda failure: got.append(failure.value))
    one.stop()
    assert len(got) == 2 and not scene.clock.getDelayedCalls()


def test_all_receive_in_one_order(scene: Scene) -> None:
    seen: list[list[Any]] = [[], [], []]
    scene.hub.subscribe("t", seen[2].append)
    for slot, one in enumerate((scene.worker(), scene.worker())):
        one.subscribe("t", seen[slot].append)
    scene.workers[0].publish("t", "a")
    scene.workers[1].publish("t", "b")
    scene.hub.publish("t", "c")
    assert seen == [["a", "b", "c"]] * 3
    assert not scene.hub.alone and not scene.workers[0].alone


def test_a_worker_that_begins_gets_the_whole(scene: Scene) -> None:
    scene.hub.subscribe("t", lambda message: None, lambda: iter([1, 2, 3]))
    got: list[Any] = []
    scene.worker().subscribe("t", got.append)
    for _ in range(4):
        scene.clock.advance(0)
    assert got[-2:] == [2, 3]
    assert not scene.clock.getDelayedCalls()


def test_one_that_is_behind_gets_the_whole_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicated, "BEHIND", 100)
    scene.hub.subscribe("t", lambda message: None, lambda: iter(["whole"]))
    one = scene.worker()
    got: list[Any] = []
    one.subscribe("t", got.append)
    scene.clock.advance(0)
    got.clear()
    scene.down[0].behind = 101
    scene.hub.publish("t", "missed")
    scene.hub.tend()
    assert got == []
    scene.down[0].behind = 0
    scene.hub.tend()
    scene.clock.advance(0)
    assert got == ["whole"]
    scene.hub.tend()
    scene.hub.detach(0)
    scene.hub.publish("t", "for nobody")
    assert got == ["whole"]


def test_publishing_waits_for_a_master_that_reads(scene: Scene) -> None:
    one = scene.worker()
    assert one.ready
    scene.up[0].behind = 1
    assert not one.ready
