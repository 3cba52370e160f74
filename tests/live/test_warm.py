"""Connections made ahead by lbproxy as a process: the first request after the start finds one."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from tests.live.clients import run
from tests.support.lb_process import LBProcess
from tests.support.ports import free_port
from tests.support.process import until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-warm")]


class Counting:
    """An HTTP server that answers with the number of the connection, and knows how many
    were made.
    """

    def __init__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.made = []
        self.ended = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            self.made.append(sock)
            number = len(self.made)
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock, number):
        body = b"connection %d\n" % number
        with contextlib.suppress(OSError):
            self._answer(sock, body)
        self.ended.append(sock)

    def _answer(self, sock, body):
        received = b""
        while data := sock.recv(65536):
            received += data
            while b"\r\n\r\n" in received:
                _, _, received = received.partition(b"\r\n\r\n")
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def close(self):
        self.listening.close()
        for sock in self.made:
            sock.close()


@pytest.fixture
def counting():
    server = Counting()
    yield server
    server.close()


def test_the_first_request_finds_a_connection(balancer, counting, curl):
    port = free_port()
    lb = balancer(
        f"[frontend f]\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = app\n"
        f"[backend app]\npool_min = 3\npool_idle = 1h\nservers = a 127.0.0.1:{counting.port}\n"
    )
    assert until(lambda: len(counting.made) == 3)
    answer = run([curl, "-sS", f"http://127.0.0.1:{port}/"]).stdout
    assert answer in {f"connection {number}\n" for number in (1, 2, 3)}
    (record,) = lb.wait_records(1)
    assert record["connect_ms"] == 0
    assert len(counting.made) == 3


def test_workers_keep_within_maxconn_together(counting, tmp_path):
    port = free_port()
    text = (
        "[lbproxy]\nworkers = 2\n"
        f"[frontend f]\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = app\n"
        "[backend app]\npool_min = 4\npool_idle = 1h\n"
        f"servers = a 127.0.0.1:{counting.port} maxconn=4\n"
    )
    with LBProcess(text, tmp_path, ports=[port], forked=True):
        assert until(lambda: len(counting.made) >= 4)
        assert not until(lambda: len(counting.made) > 4, 2.5)
    assert until(lambda: len(counting.ended) == 4), "a stop closes them"
