"""The nested epoll: whose event it is, bounded turns, exceptions, leaving the reactor."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from lbproxy.net import poller as module
from lbproxy.net.handler import Handler as Base
from lbproxy.net.poller import IN, Poller


class Reactor(Clock):
    """A clock that can watch descriptors, which the test drives."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)


class Handler(Base):
    def __init__(self, log: list[Any], name: str, action: Any = None) -> None:
        self.log, self.name, self.action = log, name, action

    def on_events(self, events: int) -> None:
        self.log.append(self.name)
        if self.action is not None:
            self.action()

    def on_soon(self) -> None:
        self.log.append(self.name + " soon")
        if self.action is not None:
            self.action()

    def on_crash(self, reason: Failure) -> None:
        assert reason.type is not None
        self.log.append(f"{self.name} {reason.type.__name__}")


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def readable() -> tuple[socket.socket, socket.socket]:
    one, two = socket.socketpair()
    two.send(b"x")
    return one, two


def test_in_the_reactor_only_while_something_is_registered(reactor: Reactor) -> None:
    poller = Poller(reactor)
    one, two = readable()
    with one, two:
        assert reactor.readers == []
        poller.register(one.fileno(), IN, Handler([], "a"))
        assert reactor.readers == [poller] and len(poller) == 1
        poller.unregister(one.fileno())
        poller.unregister(one.fileno())
        assert reactor.readers == [] and len(poller) == 0
    poller.close()


def test_an_event_is_for_who_registered(reactor: Reactor) -> None:
    """Whichever of two ready sockets is served first closes the other and reuses its number."""
    log: list[Any] = []
    poller = Poller(reactor)
    socks = {name: readable() for name in "ab"}
    late: list[socket.socket] = []

    def swap(other: str) -> None:
        victim = socks[other][0]
        number = victim.fileno()
        poller.unregister(number)
        victim.close()
        fresh, peer = readable()
        if fresh.fileno() != number:
            fresh, peer = peer, fresh
            fresh.send(b"") if fresh.fileno() != number else peer.send(b"x")
        assert fresh.fileno() == number
        late.extend((fresh, peer))
        poller.register(number, IN, Handler(log, "new"))

    poller.register(socks["a"][0].fileno(), IN, Handler(log, "a", lambda: swap("b")))
    poller.register(socks["b"][0].fileno(), IN, Handler(log, "b", lambda: swap("a")))
    poller.doRead()
    assert len(log) == 1 and log[0] in "ab"
    assert poller.fileno() >= 0
    poller.doRead()
    assert log.count("new") == 1, "its own event comes in the next turn"
    poller.close()
    for pair in (*socks.values(), late):
        for sock in pair:
            sock.close()


def test_an_exception_ends_that_handler_only(reactor: Reactor) -> None:
    log: list[Any] = []
    poller = Poller(reactor)
    pairs = [readable(), readable()]
    poller.register(pairs[0][0].fileno(), IN, Handler(log, "bad", lambda: 1 / 0))
    poller.register(pairs[1][0].fileno(), IN, Handler(log, "good"))
    poller.doRead()
    assert sorted(log) == ["bad", "bad ZeroDivisionError", "good"]
    poller.close()
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_messages_at_most_once_a_second_per_kind(reactor: Reactor) -> None:
    poller = Poller(reactor)
    assert poller.may_log("a") and poller.may_log("b")
    assert not poller.may_log("a")
    reactor.advance(1.1)
    assert poller.may_log("a")
    poller.close()


def test_soon_runs_outside_the_callers_stack(reactor: Reactor) -> None:
    log: list[Any] = []
    poller = Poller(reactor)
    poller.soon(Handler(log, "a"))
    poller.soon(Handler(log, "bad", lambda: 1 / 0))
    poller.soon(Handler(log, "b"))
    assert log == []
    reactor.advance(0)
    assert log == ["a soon", "bad soon", "bad ZeroDivisionError", "b soon"]
    assert not reactor.getDelayedCalls()
    poller.close()


def test_soon_in_a_turn_runs_at_its_end(reactor: Reactor) -> None:
    log: list[Any] = []
    poller = Poller(reactor)
    one, two = readable()
    later = Handler(log, "later")
    poller.register(one.fileno(), IN, Handler(log, "event", lambda: poller.soon(later)))
    poller.doRead()
    assert log == ["event", "later soon"]
    assert not reactor.getDelayedCalls()
    poller.close()
    one.close()
    two.close()


def test_endless_work_gives_the_reactor_its_turn(reactor: Reactor) -> None:
    log: list[Any] = []
    poller = Poller(reactor)
    greedy = Handler(log, "greedy", lambda: poller.soon(greedy))
    one, two = readable()
    poller.register(one.fileno(), IN, greedy)
    poller.doRead()
    assert len(log) == 1 + module.SOON_ROUNDS
    assert len(reactor.getDelayedCalls()) == 1, "the rest is for the next iteration"
    poller.close()
    assert not reactor.getDelayedCalls()
    one.close()
    two.close()


def test_again_waits_for_the_next_iteration(reactor: Reactor) -> None:
    log: list[Any] = []
    poller = Poller(reactor)
    one, two = readable()
    later = Handler(log, "later")
    poller.register(one.fileno(), IN, Handler(log, "event", lambda: poller.again(later)))
    poller.doRead()
    assert log == ["event"]
    reactor.advance(0)
    assert log == ["event", "later soon"]
    poller.close()
    one.close()
    two.close()


def test_a_turn_is_bounded(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    log: list[Any] = []
    poller = Poller(reactor)
    pairs = [readable() for _ in range(7)]
    for number, pair in enumerate(pairs):
        poller.register(pair[0].fileno(), IN, Handler(log, str(number)))
    poller.doRead()
    assert len(log) == 3
    poller.doRead()
    poller.doRead()
    assert set(log) == set("0123456"), "the kernel's ready list goes round"
    poller.close()
    for pair in pairs:
        for sock in pair:
            sock.close()


class Sockets:
    """Ready sockets of a poller; ``log`` has the number of each one that was served."""

    def __init__(self, poller: Poller, count: int) -> None:
        self.poller = poller
        self.log: list[Any] = []
        self.pairs = [readable() for _ in range(count)]
        for number in range(count):
            self.serve(number, self.taking(number))

    def serve(self, number: int, action: Any) -> None:
        sock = self.pairs[number][0]
        self.poller.unregister(sock.fileno())
        self.poller.register(sock.fileno(), IN, Handler(self.log, str(number), action))

    def taking(self, number: int) -> Any:
        """Return what a connection does with its bytes."""
        return lambda: self.pairs[number][0].recv(10)

    def sending(self, number: int, to: int) -> Any:
        """Return what a connection does whose peer, another one, gets an answer at once."""

        def act() -> None:
            self.pairs[number][0].recv(10)
            self.pairs[to][1].send(b"x")

        return act

    def close(self) -> None:
        self.poller.close()
        for pair in self.pairs:
            for sock in pair:
                sock.close()


def test_a_busy_turn_looks_again(reactor: Reactor) -> None:
    some = Sockets(Poller(reactor), module.BUSY + 1)
    last = module.BUSY
    some.pairs[last][0].recv(10)  # not ready at first
    some.serve(0, some.sending(0, last))
    some.poller.doRead()
    assert some.log[-1] == str(last) and len(some.log) == module.BUSY + 1
    assert not some.poller.in_turn and not reactor.getDelayedCalls()
    some.close()


def test_a_quiet_turn_looks_once(reactor: Reactor) -> None:
    some = Sockets(Poller(reactor), module.BUSY)
    last = module.BUSY - 1
    some.pairs[last][0].recv(10)
    some.serve(0, some.sending(0, last))
    some.poller.doRead()
    assert str(last) not in some.log
    some.poller.doRead()
    assert some.log[-1] == str(last)
    some.close()


def test_looking_again_does_not_lengthen_a_turn(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 12)
    some = Sockets(Poller(reactor), 5)
    for number in range(5):
        some.serve(number, None)  # none takes its bytes
    some.poller.doRead()
    assert len(some.log) == 12
    some.close()


def test_slow_events_end_a_busy_turn_early(reactor: Reactor) -> None:
    """Deadlines and the rest of the reactor wait for two batches, and not for 256 events."""
    some = Sockets(Poller(reactor), 8)
    for number in range(8):
        some.serve(number, lambda: reactor.advance(0.012))  # as a firewall with a long body
    some.poller.doRead()
    assert len(some.log) == 16
    some.close()


def test_an_accepted_connection_is_served_in_the_same_turn(reactor: Reactor) -> None:
    some = Sockets(Poller(reactor), 1)
    fresh, peer = readable()

    def accept() -> None:
        some.pairs[0][0].recv(10)
        some.poller.register(fresh.fileno(), IN, Handler(some.log, "fresh", lambda: fresh.recv(9)))
        some.poller.accepted()

    some.serve(0, accept)
    some.poller.doRead()
    assert some.log == ["0", "fresh"]
    some.close()
    fresh.close()
    peer.close()


def test_handshakes_that_wait_are_not_asked_again_in_the_turn(reactor: Reactor) -> None:
    some = Sockets(Poller(reactor), module.HANDSHAKES + 2)
    taken: list[bool] = []
    for number in range(len(some.pairs)):
        some.serve(number, lambda: taken.append(some.poller.take_handshake()))
    some.poller.doRead()
    assert sorted(taken) == [False] * 2 + [True] * module.HANDSHAKES
    some.close()


def test_closing_within_a_busy_turn_ends_it(reactor: Reactor) -> None:
    some = Sockets(Poller(reactor), module.BUSY)
    for number in range(module.BUSY):
        some.serve(number, some.poller.close)
    some.poller.doRead()
    served = [entry for entry in some.log if "ConnectionLost" not in entry]
    assert len(served) == 1 and len(some.log) == 1 + module.BUSY
    assert some.poller.fileno() == -1 and reactor.readers == []
    some.close()


def test_closing_tells_everybody(reactor: Reactor) -> None:
    log: list[Any] = []
    poller = Poller(reactor)
    one, two = readable()
    poller.register(one.fileno(), IN, Handler(log, "a", lambda: 1 / 0))
    poller.silence(one.fileno())
    poller.doRead()
    assert log == [], "silenced"
    poller.connectionLost(Failure(ValueError()))
    poller.close()
    poller.doRead()
    assert log == ["a ConnectionLost"] and reactor.readers == [] and poller.fileno() == -1
    one.close()
    two.close()


class Counting:
    """An epoll that counts how often a descriptor is taken out of it."""

    def __init__(self, epoll: Any) -> None:
        self.epoll = epoll
        self.taken_out = 0

    def unregister(self, fd: int) -> None:
        self.taken_out += 1
        self.epoll.unregister(fd)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.epoll, name)


def test_a_socket_that_closes_leaves_the_epoll_by_itself(reactor: Reactor) -> None:
    poller = Poller(reactor)
    counting = poller._epoll = Counting(poller._epoll)
    one, two = readable()
    poller.register(one.fileno(), IN, Handler([], "a"))
    poller.release(one.fileno())
    one.close()
    assert counting.taken_out == 0 and poller._epoll.poll(0) == [] and len(poller) == 0
    poller.close()
    two.close()


@pytest.mark.parametrize("silenced", [False, True])
def test_a_socket_that_a_child_process_has_open_is_taken_out(
    reactor: Reactor, silenced: bool
) -> None:
    """Else its events would be reported under a number that belongs to another socket by then."""
    poller = Poller(reactor)
    counting = poller._epoll = Counting(poller._epoll)
    one, two = readable()
    poller.register(one.fileno(), IN, Handler([], "before"))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    late, peer = readable()
    poller.register(late.fileno(), IN, Handler([], "after"))
    if silenced:  # and watched again
        poller.silence(one.fileno())
        poller.register(one.fileno(), IN, Handler([], "before"))
        counting.taken_out = 0
    for sock in (one, late):
        poller.release(sock.fileno())
        sock.close()
    assert counting.taken_out == 1, "the second socket is not the child's"
    assert poller._epoll.poll(0) == []
    os.close(writing)
    os.close(reading)
    os.waitpid(child, 0)
    poller.close()
    for sock in (two, peer):
        sock.close()
