"""Records read and written without pyOpenSSL's own methods: the same bytes, the same errors."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from OpenSSL import SSL

from lbproxy.net import sslrecords
from lbproxy.net.sslrecords import RECORD_BYTES, record_calls


class Pair:
    """Two ends of an established connection."""

    def __init__(self) -> None:
        contexts = [SSL.Context(SSL.TLS_METHOD) for _ in range(2)]
        trustme.CA().issue_cert("localhost").configure_cert(contexts[0])
        self.sockets = socket.socketpair()
        self.ends = [
            SSL.Connection(context, sock)
            for context, sock in zip(contexts, self.sockets, strict=True)
        ]
        for sock in self.sockets:
            sock.setblocking(False)
        self.ends[0].set_accept_state()
        self.ends[1].set_connect_state()
        for _ in range(4):
            for end in self.ends:
                with suppress(SSL.WantReadError):
                    end.do_handshake()
        with suppress(SSL.WantReadError):  # session tickets
            self.ends[1].recv(1)
        self.read, self.write = record_calls(self.ends[0])


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    for sock in made.sockets:
        sock.close()


def kind(call: Callable[..., Any], *args: Any) -> type[BaseException]:
    with pytest.raises(SSL.Error) as caught:
        call(*args)
    return caught.type


def test_this_pyopenssl_has_what_is_needed() -> None:
    assert sslrecords._DIRECT


def test_without_it_pyopenssl_serves() -> None:
    other = SimpleNamespace(recv=object(), send=object())
    assert record_calls(other) == (other.recv, other.send)


@pytest.mark.parametrize("size", [1, 1000, RECORD_BYTES])
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_bytes_come_through(pair: Pair, size: int, wrap: Callable[[bytes], Any]) -> None:
    data = bytes(n % 251 for n in range(size))
    assert pair.write(wrap(data)) == size
    assert pair.ends[1].recv(RECORD_BYTES) == data
    pair.ends[1].send(data)
    got = pair.read(RECORD_BYTES)
    assert type(got) is bytes and got == data


def test_a_read_is_a_copy_and_takes_no_more_than_it_may(pair: Pair) -> None:
    pair.ends[1].send(b"first")
    pair.ends[1].send(b"second")
    first = pair.read(3)
    assert pair.read(RECORD_BYTES) == b"st" and pair.read(RECORD_BYTES) == b"second"
    assert first == b"fir"


def test_the_errors_are_those_of_pyopenssl(pair: Pair) -> None:
    assert kind(pair.read, RECORD_BYTES) is SSL.WantReadError

    def fill() -> None:
        for _ in range(10000):
            pair.write(bytes(RECORD_BYTES))

    assert kind(fill) is SSL.WantWriteError


def test_a_clean_end_and_a_truncation(pair: Pair) -> None:
    pair.ends[1].shutdown()
    assert kind(pair.read, RECORD_BYTES) is SSL.ZeroReturnError
    other = Pair()
    other.sockets[1].close()
    assert kind(other.read, RECORD_BYTES) is SSL.SysCallError
    other.sockets[0].close()


def test_garbage_is_an_error_with_a_reason(pair: Pair) -> None:
    pair.sockets[1].send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(SSL.Error) as caught:
        pair.read(RECORD_BYTES)
    assert caught.type is SSL.Error and caught.value.args[0]


def test_an_error_of_one_connection_is_not_told_of_another() -> None:
    """OpenSSL has one list of errors for all of them."""
    one, other = Pair(), Pair()
    one.sockets[1].close()
    with pytest.raises(SSL.SysCallError, match="EPIPE"):
        one.write(b"x")
    other.sockets[1].send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(SSL.Error, match="bad record mac") as caught:
        other.read(RECORD_BYTES)
    assert {library for library, _, _ in caught.value.args[0]} == {"SSL routines"}
    for sock in (*one.sockets, *other.sockets):
        sock.close()


def test_a_failure_that_nobody_can_name_gives_no_bytes_of_another_connection() -> None:
    pair = Pair()
    pair.ends[1].send(b"secret")
    assert pair.read(RECORD_BYTES) == b"secret"
    silent = sslrecords._Records(pair.ends[0]._ssl, lambda handle, result: None)
    assert kind(silent.read, RECORD_BYTES) is SSL.Error
    pair.sockets[0].shutdown(socket.SHUT_RDWR)
    assert kind(silent.write, b"x") is SSL.Error
    for sock in pair.sockets:
        sock.close()


def test_what_could_not_be_written_may_grow_while_the_error_is_known(pair: Pair) -> None:
    data = bytearray(RECORD_BYTES)
    with pytest.raises(SSL.WantWriteError) as caught:
        while True:
            pair.write(data)
    data += b"more"
    assert caught.tb is not None
    with suppress(SSL.WantReadError):
        while True:
            pair.ends[1].recv(RECORD_BYTES)
    assert pair.write(data) == len(data)
