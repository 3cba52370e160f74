"""What waits on a socket, without reading it."""

from __future__ import annotations

import socket
from types import SimpleNamespace

from lbproxy.net.peek import has_input


def test_nothing_bytes_and_the_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SimpleNamespace(socket=ours)
        assert not has_input(transport)
        theirs.send(b"x")
        assert has_input(transport)
        assert ours.recv(10) == b"x", "it was not read"
        assert not has_input(transport)
        theirs.close()
        assert has_input(transport)
    assert has_input(transport), "an error counts"


def test_a_transport_without_a_socket_is_silent() -> None:
    assert not has_input(object())
