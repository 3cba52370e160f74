"""A worker in this process: what its master says is played by the test, over a socket pair."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import fail

from lbproxy.errors import Outcome
from lbproxy.process.gc import Freezer
from lbproxy.service import LoadBalancer
from lbproxy.testing.memory import MemoryReactor
from lbproxy.workers import turns as module
from lbproxy.workers.channel import Channel
from lbproxy.workers.shared import ADDRESSES, Board
from lbproxy.workers.worker import Worker
from tests.support.process import until

TEXT = """
[lbproxy]
transport = twisted
[frontend web]
listen = tcp:8080
backend = app
[backend app]
sticky = header X-User
servers = a 10.0.0.1:80
"""
ADDRESS = {"kind": "tcp", "host": "", "port": 8080, "path": ""}


class Reactor(MemoryReactor):
    """With descriptors: they are looked at when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.adopted: list[int] = []

    def addReader(self, one: Any) -> None:
        self.readers.append(one)

    def removeReader(self, one: Any) -> None:
        if one in self.readers:
            self.readers.remove(one)

    def addWriter(self, one: Any) -> None:
        pass

    removeWriter = addWriter

    def adoptStreamPort(self, fd: int, family: int, factory: Any) -> Any:
        self.adopted.append(fd)
        return self.listenTCP(8080, factory)


class Scene:
    """``said``: by the worker; ``ended``: how often it has."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        ours, theirs = socket.socketpair()
        self.master = ours
        self.said: list[dict[str, Any]] = []
        self.boards = [Board.create(2), Board.create(2, ADDRESSES)]
        self.ended = 0
        self.worker = Worker(self.reactor, theirs, self._over)

    def _over(self) -> None:
        self.ended += 1

    def tell(self, kind: str, fds: list[int] | None = None, **more: Any) -> None:
        """And let the worker hear it."""
        line = json.dumps({"type": kind, **more, "fds": len(fds or ())}).encode() + b"\n"
        socket.send_fds(self.master, [line], fds or [])
        self.hear()

    def hear(self) -> None:
        for reader in list(self.reactor.readers):
            reader.doRead()

    def begin(self, **more: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as bound:
            self.tell("socket", [bound.fileno()], address=ADDRESS)
        known = {
            "text": TEXT, "file": "lb.ini", "folder": ".", "secret": "00" * 32, "state": {},
            "places": {}, "measure": True, "offenders": True, "slot": 0, "workers": 2,
        }  # fmt: skip
        self.tell("begin", [board.fd for board in self.boards], **{**known, **more})

    def words(self) -> list[str]:
        """What kinds of things the worker has said since the last time."""
        self.master.setblocking(False)
        data = b""
        try:
            while more := self.master.recv(1 << 20):
                data += more
        except BlockingIOError:
            pass
        self.said = [json.loads(line) for line in data.splitlines()]
        return [one["type"] for one in self.said]

    def close(self) -> None:
        self.worker.channel.close()
        self.master.close()
        for board in self.boards:
            board.close()


def descriptors() -> set[tuple[str, str]]:
    """Numbers of all open descriptors and what each one is."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A worker that sets no objects aside: those of a test would never be collected."""
    monkeypatch.setattr(Freezer, "_settle", staticmethod(gc.collect))
    gc.collect()  # as a worker does
    before = descriptors()
    made = Scene()
    yield made
    worker = made.worker
    made.close()
    for board in worker._boards:
        board.close()
    # earlier tests may still close theirs meanwhile: only what is new counts
    assert until(lambda: not descriptors() - before), descriptors() - before


def boom(*args: Any, **named: Any) -> Any:
    raise RuntimeError("boom")


def failed(*args: Any, **named: Any) -> Any:
    return fail(RuntimeError("boom"))


def test_it_serves_and_stops(scene: Scene) -> None:
    scene.begin()
    assert scene.words() == ["report", "ready"]
    assert len(scene.reactor.adopted) == 1
    scene.tell("stop")
    scene.tell("stop")
    scene.worker.stop()
    scene.reactor.advance(1)
    assert scene.ended == 1 and scene.words() == ["report"]
    assert not scene.reactor.getDelayedCalls()


@pytest.mark.parametrize("where", ["_config", "_join", "_sync", "_measure", "_look", "_count"])
def test_whatever_goes_wrong_at_the_start_is_told_and_ends_it(
    scene: Scene, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.worker, where, boom)
    scene.begin()
    scene.reactor.advance(1)
    assert scene.ended == 1
    said = scene.words()
    assert said[0] == "failed" and "ready" not in said
    assert scene.said[0]["why"] == "RuntimeError: boom"


def test_a_configuration_or_an_address_that_is_refused(scene: Scene) -> None:
    scene.begin(text=TEXT.replace("8080", "8081"))
    scene.reactor.advance(1)
    assert (
        scene.ended == 1 and "the master sent no socket" in (scene.words() and scene.said[0])["why"]
    )


def test_boards_that_are_none(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        scene.tell("begin", [one.fileno(), one.fileno()], slot=0, workers=2)
    assert scene.ended == 1 and scene.words() == ["failed"]


def test_a_message_without_what_it_needs(scene: Scene) -> None:
    scene.tell("begin")
    assert scene.ended == 1 and scene.words() == ["failed"]
    assert scene.said[0]["why"].startswith("KeyError")


def test_descriptors_of_what_is_not_understood_or_too_late_are_closed(scene: Scene) -> None:
    with open(os.devnull) as file:
        scene.tell("nonsense", [file.fileno()])
        scene.tell("state", [file.fileno(), file.fileno()])
        scene.tell("socket", [file.fileno()])
        scene.worker.stop()
        scene.tell("socket", [file.fileno()], address=ADDRESS)
    assert scene.ended == 1


def test_messages_before_the_beginning_are_harmless(scene: Scene) -> None:
    for do in ("state", "publish", "follow", "reload"):
        scene.tell(do)
    scene.tell("run", operation="kill_sessions", arguments={}, number=0)
    scene.tell("run", operation="all_sessions", arguments={}, number=7)
    scene.tell("run", operation="end_session", arguments={"id": "x"}, number=8)
    assert scene.words() == ["answer", "answer"]
    assert [one["answer"] for one in scene.said] == [None, None]
    scene.begin()
    assert scene.words() == ["report", "ready"]


@pytest.mark.parametrize("what", [boom, failed])
def test_an_end_that_fails_is_an_end(
    scene: Scene, what: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.begin()
    monkeypatch.setattr(LoadBalancer, "stopService", what)
    scene.tell("stop")
    assert scene.ended == 1
    for call in scene.reactor.getDelayedCalls():
        call.cancel()


def test_counts_that_cannot_be_collected_do_not_keep_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.begin()
    monkeypatch.setattr(module, "report_of", boom)
    scene.tell("stop")
    scene.reactor.advance(1)
    assert scene.ended == 1 and not scene.reactor.getDelayedCalls()


def test_it_ends_without_its_master(scene: Scene) -> None:
    scene.begin()
    scene.master.close()
    scene.hear()
    scene.reactor.advance(1)
    assert scene.ended == 1


@pytest.mark.parametrize("when", ["privilegedStartService", "startService"])
def test_a_master_that_goes_in_the_middle_of_a_start(
    scene: Scene, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = getattr(LoadBalancer, when)

    def goes(balancer: LoadBalancer) -> None:
        scene.worker.channel.connectionLost(None)  # type: ignore[arg-type]
        start(balancer)

    monkeypatch.setattr(LoadBalancer, when, goes)
    scene.begin()
    assert scene.ended == 0, "not before it has started"
    balancer = scene.worker.balancer
    assert balancer is not None and balancer.running
    scene.reactor.advance(1)
    assert scene.ended == 1 and not balancer.running
    assert not scene.reactor.getDelayedCalls()


def test_a_reload_that_fails_is_told_whatever_it_was(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.begin()
    scene.words()
    known = {
        "text": "[nonsense]", "file": "lb.ini", "folder": ".", "secret": "00" * 32, "state": {},
        "places": {}, "measure": True, "offenders": True,
    }  # fmt: skip
    scene.tell("reload", **known)
    assert scene.words() == ["failed"] and "nonsense" in scene.said[0]["why"]
    monkeypatch.setattr(scene.worker, "_sync", boom)
    scene.tell("reload", **{**known, "text": TEXT})
    assert scene.words() == ["failed"] and scene.ended == 0
    monkeypatch.undo()
    scene.tell("reload", **{**known, "text": TEXT})
    assert scene.words() == ["ready"]
    scene.tell("stop")


def test_places_of_servers_that_are_gone_are_forgotten(scene: Scene) -> None:
    scene.begin(places={"app/a/10.0.0.1:80": 0, "app/b/10.0.0.2:80": 1})
    balancer = scene.worker.balancer
    assert balancer is not None
    a = balancer.backends["app"].group.servers["a"]
    lease = balancer.backends["app"].group.take(a)
    assert lease is not None
    scene.tell("state", state={}, places=None)
    assert scene.worker._places.keys() == {"app/a/10.0.0.1:80", "app/b/10.0.0.2:80"}
    scene.tell("state", state={}, places={"app/c/10.0.0.3:80": 0})
    assert scene.worker._places == {"app/c/10.0.0.3:80": 0}
    scene.boards[0].put(0, 0, 9)
    a.maxconn = 5
    lease.release(Outcome.OK)
    assert scene.boards[0].others(1, 0) == 9, "the place is another's by now"
    scene.tell("stop")


def test_nothing_is_piled_up_for_a_master_that_does_not_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.begin()
    scene.words()
    balancer = scene.worker.balancer
    assert balancer is not None
    sticky = balancer.backends["app"].sticky
    assert sticky is not None and sticky.table is not None
    monkeypatch.setattr(Channel, "behind", 1, raising=False)
    scene.worker.channel.behind = 1
    sticky.table.put(b"k", "a")
    scene.reactor.advance(5)
    assert scene.words() == []
    scene.worker.channel.behind = 0
    scene.reactor.advance(1.1)
    assert set(scene.words()) == {"replicated", "report"}
    scene.tell("stop")


def test_it_reports_how_late_its_reactor_is(scene: Scene) -> None:
    scene.begin()
    scene.reactor.advance(0.5)
    scene.reactor.rightNow += 0.5 + 0.75
    scene.reactor.advance(1.1)
    assert scene.worker.balancer is not None
    assert scene.worker.balancer.worker_lag_max >= 0.75
    scene.tell("stop")
