"""A server that closes idle connections just when the next POST comes: no client sees an error."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Thread

import pytest

from tests.support.ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-http")]

KEEPS = 1  # seconds
CROSSES = 0.96  # seconds, after which a request meets the close


class Impatient(BaseHTTPRequestHandler):
    """Treats a connection as closed after :data:`KEEPS` without a request.

    A request that comes later crosses with the close: it gets no response.
    """

    protocol_version = "HTTP/1.1"
    answered = 0.0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.answered and time.monotonic() - self.answered > CROSSES:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Keep-Alive", f"timeout={KEEPS}")
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.answered = time.monotonic()

    def log_message(self, *words: object) -> None:
        """Nothing."""


def posts(port: int, seed: int) -> list[int]:
    """The statuses of requests that come when the server is about to close."""
    random = Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found = []
    for _ in range(4):
        connection.request("POST", "/", b"pay")
        response = connection.getresponse()
        response.read()
        found.append(response.status)
        time.sleep(random.uniform(CROSSES, KEEPS))
    connection.close()
    return found


def test_posts_do_not_meet_the_close(balancer) -> None:
    port = free_port()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Impatient)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        balancer(
            f"[frontend web]\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = app\n"
            f"[backend app]\nservers = a 127.0.0.1:{server.server_address[1]}\n"
        )
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda seed: posts(port, seed), range(8)))
    finally:
        server.shutdown()
        server.server_close()
    assert found == [[200] * 4] * 8
