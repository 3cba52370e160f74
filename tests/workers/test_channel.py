"""Messages and descriptors between two processes, here in one."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from lbproxy.workers import channel
from lbproxy.workers.channel import Channel
from tests.support.descriptors import descriptors, settled_descriptors


class Loop:
    """Just enough of a reactor: whoever wants to read or write is called in turn."""

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, one: Any) -> None:
        if one not in self.readers:
            self.readers.append(one)

    def addWriter(self, one: Any) -> None:
        if one not in self.writers:
            self.writers.append(one)

    def removeReader(self, one: Any) -> None:
        if one in self.readers:
            self.readers.remove(one)

    def removeWriter(self, one: Any) -> None:
        if one in self.writers:
            self.writers.remove(one)

    def run(self, turns: int = 200) -> None:
        for _ in range(turns):
            for one in [*self.writers]:
                one.doWrite()
            for one in [*self.readers]:
                one.doRead()


class End:
    """One end and what it heard."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.heard: list[tuple[dict[str, Any], list[int]]] = []
        self.lost = 0
        self.channel = Channel(loop, sock, self.told, self.gone)

    def told(self, message: dict[str, Any], fds: list[int]) -> None:
        if message.get("bad"):
            raise ValueError("a bug in a handler")
        self.heard.append((message, fds))

    def gone(self) -> None:
        self.lost += 1


@pytest.fixture
def pair() -> Any:
    loop = Loop()
    one, two = socket.socketpair()
    a, b = End(loop, one), End(loop, two)
    yield loop, a, b
    a.channel.close()
    b.channel.close()


def test_both_ways_and_in_order(pair: Any) -> None:
    loop, a, b = pair
    for number in range(50):
        a.channel.send({"number": number})
    b.channel.send({"text": "ü\n"})
    loop.run()
    assert [message["number"] for message, _ in b.heard] == list(range(50))
    assert a.heard == [({"text": "ü\n"}, [])]


def test_more_than_the_kernel_takes(pair: Any) -> None:
    loop, a, b = pair
    a.channel.send({"text": "x" * 3_000_000})
    a.channel.send({"after": True})
    assert loop.writers
    loop.run(2000)
    assert [len(message.get("text", "")) for message, _ in b.heard] == [3_000_000, 0]
    assert not loop.writers


def test_descriptors_come_with_their_message(pair: Any) -> None:
    loop, a, b = pair
    a.channel.send({"text": "y" * 2_000_000})
    for number in range(3):
        read, write = os.pipe()
        os.write(write, b"%d" % number)
        a.channel.send({"number": number}, [read, write])
        loop.run(2000)
        os.close(read)
        os.close(write)
    got = b.heard[1:]
    assert [message["number"] for message, _ in got] == [0, 1, 2]
    for message, (read, write) in got:
        assert os.read(read, 10) == b"%d" % message["number"]
        os.close(read)
        os.close(write)


def test_the_other_end_goes(pair: Any) -> None:
    loop, a, b = pair
    b.channel.close()
    loop.run()
    assert (a.lost, b.lost) == (1, 0)
    a.channel.send({"into": "the void"})
    assert not loop.readers and not loop.writers


def test_a_handler_that_fails_is_not_the_end(pair: Any) -> None:
    loop, a, b = pair
    a.channel.send({"bad": True})
    a.channel.send({"good": True})
    loop.run()
    assert [message for message, _ in b.heard] == [{"good": True}]


def test_what_waits_is_counted_and_bounded(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LINE_MAX", 2_000_000)
    loop, a, b = pair
    a.channel.send({"text": "x" * 1_500_000})
    assert 0 < a.channel.behind < 1_500_100
    loop.run(100)
    assert a.channel.behind == 0 and len(b.heard) == 1
    for _ in range(2):
        a.channel.send({"text": "x" * 1_500_000})
    assert a.lost == 0 and a.channel.behind > 2_000_000
    a.channel.send({"one": "too many"})
    assert a.lost == 1 and a.channel.behind == 0
    a.channel.send({"into": "the void"})
    assert a.lost == 1


def test_descriptors_may_be_closed_before_they_are_sent(pair: Any) -> None:
    loop, a, b = pair
    before = settled_descriptors()
    a.channel.send({"text": "y" * 2_000_000})
    read, write = os.pipe()
    a.channel.send({"after": True}, [write])
    os.close(write)
    loop.run(100)
    ((_, _), (_, (came,))) = b.heard
    os.write(came, b"through")
    assert os.read(read, 10) == b"through"
    assert not os.get_inheritable(came)
    os.close(came)
    os.close(read)
    assert descriptors() <= before, "none is left here"


def test_descriptors_that_nobody_took_are_closed(pair: Any) -> None:
    loop, _, b = pair
    before = settled_descriptors()
    b.channel.send({"text": "y" * 2_000_000})
    b.channel.send({"waits": True}, [0, 1])
    b.channel.close()
    assert descriptors() <= before - 1
    loop.run(1)


def test_the_last_words_are_heard_by_who_cannot_answer(pair: Any) -> None:
    loop, a, b = pair
    b.channel.send({"last": "words"})
    b.channel.close()
    a.channel.send({"too": "late"})
    loop.run(2)
    assert [message for message, _ in a.heard] == [{"last": "words"}] and a.lost == 1


@pytest.mark.parametrize("line", [b"{\n", b"\xff\n", b"{}\n", b'{"fds":1}\n', b"x" * 100])
def test_what_cannot_be_read_is_the_end(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LINE_MAX", 50)
    loop = Loop()
    raw, sock = socket.socketpair()
    end = End(loop, sock)
    with raw:
        raw.sendall(b'{"fds":0}\n' + line + b'{"fds":0}\n')
        loop.run(3)
    assert (end.heard, end.lost) == ([({}, [])], 1)
