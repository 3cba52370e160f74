"""The shorter way from Twisted's epoll reactor to the poller."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock
from twisted.python.log import ILogContext, context

from lbproxy.net.dispatch import dispatch_directly
from lbproxy.net.handler import Handler
from lbproxy.net.poller import IN, Poller
from tests.support.reactor import _dispose


def system() -> str:
    """Return the prefix of the log context that the caller runs in."""
    found: str = context.get(ILogContext).get("system", "-")
    return found


class Socket(Handler):
    """A connection in the poller, or a descriptor in the reactor, with one byte to read."""

    def __init__(self, log: list[tuple[str, str]], name: str) -> None:
        self.log, self.name = log, name
        self.mine, self.peer = socket.socketpair()
        self.peer.send(b"x")
        self.leaves: Any = None

    def fileno(self) -> int:
        return self.mine.fileno()

    def logPrefix(self) -> str:
        return self.name

    def connectionLost(self, reason: Any) -> None:
        self.log.append((self.name, "lost"))

    def doRead(self) -> None:
        self.mine.recv(1)
        self.log.append((self.name, system()))
        if self.leaves is not None:
            self.leaves()

    def on_events(self, events: int) -> None:
        self.doRead()

    def close(self) -> None:
        self.mine.close()
        self.peer.close()


@pytest.fixture
def reactor() -> Iterator[Any]:
    made: Any = EPollReactor()
    yield made
    _dispose(made)


def test_the_poller_is_called_without_a_log_context_and_all_others_with_theirs(
    reactor: Any,
) -> None:
    assert dispatch_directly(reactor)
    assert dispatch_directly(reactor), "harmless if repeated"
    log: list[tuple[str, str]] = []
    poller = Poller(reactor)
    ours, other = Socket(log, "ours"), Socket(log, "other")
    poller.register(ours.fileno(), IN, ours)
    reactor.addReader(other)
    for _ in range(2):
        reactor.doIteration(0)
    assert sorted(log) == [("other", "other"), ("ours", "-")]
    reactor.removeReader(other)
    poller.close()
    ours.close()
    other.close()


def test_timed_calls_and_waiting_are_as_before(reactor: Any) -> None:
    dispatch_directly(reactor)
    called: list[int] = []
    reactor.callLater(0, called.append, 1)
    reactor.callLater(0.01, reactor.stop)
    reactor.run(installSignalHandlers=False)
    assert called == [1]


def test_a_descriptor_that_has_left_gets_no_event(reactor: Any) -> None:
    dispatch_directly(reactor)
    log: list[tuple[str, str]] = []
    two = [Socket(log, "a"), Socket(log, "b")]
    for one, another in (two, two[::-1]):
        reactor.addReader(one)
        one.leaves = lambda another=another: reactor.removeReader(another)
    reactor.doIteration(0)
    assert len(log) == 1
    for one in two:
        reactor.removeReader(one)
        one.close()


class _Own(EPollReactor):
    """A reactor whose author may have changed anything."""


def test_other_reactors_stay_as_they_are(reactor: Any) -> None:
    assert not dispatch_directly(Clock())
    own: Any = _Own()
    assert not dispatch_directly(own)
    assert "doIteration" not in vars(own)
    _dispose(own)


def test_an_epoll_reactor_of_another_make_stays_as_it_is(reactor: Any) -> None:
    """A version of Twisted that keeps its descriptors elsewhere."""
    kept = reactor._selectables
    del reactor._selectables
    assert not dispatch_directly(reactor)
    assert "doIteration" not in vars(reactor)
    reactor._selectables = kept
