"""The hand-over, without a second lbproxy: what is told, what is refused, who is killed."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import tempfile

import pytest
from twisted.internet.task import Clock

from lbproxy.config.model import Address
from lbproxy.errors import ListenError
from lbproxy.net.inherited import Inherited
from lbproxy.observe.events import EventKind, Events
from lbproxy.process import upgrade
from lbproxy.process.takeover import HandoverError, Takeover
from lbproxy.process.upgrade import ENVIRONMENT, Upgrader, holds_pid, write_pid
from tests.support.descriptors import descriptors, settled_descriptors
from tests.support.process import until

WEB = Address("tcp", "127.0.0.1", 80)


class Reactor(Clock):
    """Stops once."""

    stopped = 0

    def stop(self):
        self.stopped += 1


class Balancer:
    """What is asked of a load balancer."""

    def __init__(self, sock):
        self.events = Events()
        self.serving = True
        self.handed_over = 0
        self.sock = sock
        self.kept = []

    def sockets(self):
        if self.sock is None:
            raise ListenError("systemd:x cannot be handed over, a restart is needed")
        return [(WEB, [self.sock.fileno()])]

    def known(self):
        return {"changes": {"version": 1}, "health": [], "sticky": []}

    def note_kept(self):
        self.kept = [("bans:rude", {"lift": ["192.0.2.1"]})]

    def noted(self):
        found, self.kept = self.kept, []
        return found

    def hand_over(self):
        self.handed_over += 1


SERVES = """
from lbproxy.config.model import Address
from lbproxy.process.takeover import Takeover
import time
class Reactor:
    seconds = staticmethod(time.monotonic)
    def callLater(self, delay, call, *args):
        time.sleep(delay)
        call(*args)
taken = Takeover.from_environment()
(sock,) = taken.sockets.take(Address("tcp", "127.0.0.1", 80))
assert sock.getsockname()[1] and taken.known["health"] == []
taken.start(Reactor(), lambda: True, lambda: None, lambda events, kept: print(
    "later:", *(one["text"] for one in events), *kept, flush=True
))
time.sleep(60)
"""


class World:
    """An Upgrader on a virtual clock; the other program is real."""

    def __init__(self, code, *, sock=True):
        self.sock = socket.create_server(("127.0.0.1", 0)) if sock else None
        self.reactor = Reactor()
        self.balancer = Balancer(self.sock)
        self.pids = []
        self.upgrader = Upgrader(
            self.reactor, self.balancer, [sys.executable, "-c", code], over=self.pids.append
        )

    def begin(self):
        found = []
        self.upgrader.begin().addCallback(found.append)
        return found

    def wait(self, found, step=0.05):
        def look():
            self.reactor.advance(step)
            return found

        assert until(look)
        return found[0]

    def kinds(self):
        return [event.kind.value for event in self.balancer.events.since()]


def test_it_hands_over_and_ends(capfd):
    world = World(SERVES)
    world.balancer.events.add(EventKind.CHANGED, "app/a", "early")
    found = world.begin()
    assert not world.balancer.handed_over
    world.balancer.events.add(EventKind.CHANGED, "app/a", "one")
    world.balancer.events.add(EventKind.CHANGED, "app/a", "two")
    again = world.begin()
    assert "under way" in again[0].error
    report = world.wait(found, 0.01)
    try:
        assert report.ok and world.pids == [report.pid]
        assert world.balancer.handed_over == 1
        assert world.kinds() == [*["changed"] * 3, "upgrade_failed", "upgrade"]
        said = []
        assert until(lambda: said.append(capfd.readouterr().out) or "later" in "".join(said))
        line = "".join(said).splitlines()[0]
        assert line.startswith("later: one two upgrade: an upgrade is under way"), line
        assert line.endswith("['bans:rude', {'lift': ['192.0.2.1']}]"), line
        assert not world.reactor.stopped
        world.reactor.advance(1)
        assert world.reactor.stopped == 1
        assert "taken over already" in world.begin()[0].error
    finally:
        world.upgrader._process.kill()
        world.upgrader._process.wait()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('lb.ini:3: no such key')", "status 1: lb.ini:3: no such key"),
        ("raise ValueError('a bug')", "ended with status 1: ValueError: a bug"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by signal 9"),
    ],
)
def test_one_that_fails_changes_nothing(code, words):
    world = World(code)
    report = world.wait(world.begin(), 0.01)
    assert not report.ok and words in report.error
    assert not world.balancer.handed_over and world.kinds() == ["upgrade_failed"]
    assert world.sock.fileno() > 0


def test_one_that_takes_too_long_is_killed():
    world = World("import time; time.sleep(60)")
    found = world.begin()
    process = world.upgrader._process
    world.reactor.advance(upgrade.LIMIT_S + 1)
    assert "did not serve within 30 s" in found[0].error
    assert process.returncode == -9
    found = world.begin()  # it can be tried again
    assert not found
    world.upgrader.abandon()
    assert "is stopping" in found[0].error


@pytest.mark.parametrize("call", [(os, "dup"), (tempfile, "TemporaryFile"), (os, "pipe")])
def test_no_descriptors_are_lost_when_there_are_none_left(monkeypatch, call):
    world = World("")
    before = settled_descriptors()

    def full(*args):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(*call, full)
        (report,) = world.begin()
    assert "Too many open files" in report.error
    assert descriptors() <= before
    assert world.wait(world.begin()).error != report.error, "it can be tried again"


def test_what_is_refused_at_once(monkeypatch):
    world = World("", sock=False)
    assert "cannot be handed over" in world.begin()[0].error
    world.balancer.serving = False
    assert "has not started completely" in world.begin()[0].error
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert "process 1" in world.begin()[0].error
    monkeypatch.undo()
    world = World("")
    world.upgrader._command[0] = "/nowhere/python"
    assert "No such file" in world.begin()[0].error


@pytest.mark.parametrize("told", [{"version": 99}, [], {}])
def test_another_language_is_not_understood(told):
    with pytest.raises(HandoverError, match="restart"):
        Takeover(told)


def test_the_environment_is_read_once():
    assert Takeover.from_environment({}) is None
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps([]).encode())
        file.seek(0)
        environment = {ENVIRONMENT: str(os.dup(file.fileno()))}
        with pytest.raises(HandoverError):
            Takeover.from_environment(environment)
    assert not environment
    with pytest.raises(HandoverError, match="cannot be read"):
        Takeover.from_environment({ENVIRONMENT: "x"})


def test_sockets_are_taken_once_by_as_many_as_there_are():
    a, b, c = (socket.socket() for _ in range(3))
    other = Address("tcp", "127.0.0.1", 81)
    given = Inherited([(WEB, [a, b]), (other, [c])])
    assert given.take(Address("tcp", "", 80)) is None
    with pytest.raises(ListenError, match="number of workers"):
        given.take(WEB)
    assert given.take(WEB, 2) == [a, b]
    assert given.take(WEB, 2) is None
    given.discard()
    assert c.fileno() == -1 and a.fileno() > 0
    a.close()
    b.close()


def test_pid_files(tmp_path):
    path = str(tmp_path / "lb.pid")
    assert not holds_pid(path, 5)
    write_pid(path, 5)
    assert holds_pid(path, 5) and not holds_pid(path, 6)
    write_pid(path, 6)
    assert holds_pid(path, 6) and list(tmp_path.iterdir()) == [tmp_path / "lb.pid"]
