"""Servers that authenticate connections, as NTLM does: nobody gets another user's page."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.support.ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-http")]


class Login(BaseHTTPRequestHandler):
    """Three legs, like NTLM: a challenge, a number to send back with the name, the page.

    The name then holds for the connection, whatever its requests say.
    """

    protocol_version = "HTTP/1.1"
    user = number = ""

    def do_GET(self) -> None:
        words = self.headers.get("Authorization", "").split()
        if words == ["NTLM", "hello"]:
            self.number = str(self.client_address[1])
            self.answer(401, "", f"NTLM {self.number}")
        elif len(words) == 3 and self.number and words[1] == self.number:
            self.user = words[2]
            self.answer(200, f"page of {self.user}")
        elif self.user:
            self.answer(200, f"page of {self.user}")
        else:
            self.answer(401, "", "NTLM")

    do_POST = do_GET

    def answer(self, status: int, body: str, challenge: str = "") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words: object) -> None:
        """Nothing."""


@contextmanager
def origin() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Login)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


class Client:
    """One client connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, credentials: str = "") -> tuple[int, str, str]:
        headers = {"Authorization": credentials} if credentials else {}
        self.connection.request("GET", "/", headers=headers)
        response = self.connection.getresponse()
        body = response.read().decode()
        return response.status, body, response.getheader("WWW-Authenticate", "")

    def log_in(self, name: str) -> tuple[int, str]:
        assert self.get()[0] == 401
        status, _, challenge = self.get("NTLM hello")
        assert status == 401
        number = challenge.split()[1]
        return self.get(f"NTLM {number} {name}")[:2]


@pytest.mark.parametrize("reuse", ["always", "safe", "never"])
def test_a_login_belongs_to_its_client_connection(balancer, reuse):
    port = free_port()
    with origin() as one, origin() as two:
        balancer(
            f"[frontend web]\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = app\n"
            f"[backend app]\nbalance = roundrobin\nreuse = {reuse}\n"
            f"servers =\n    a 127.0.0.1:{one}\n    b 127.0.0.1:{two}\n"
        )
        alice, bob, carol = Client(port), Client(port), Client(port)
        assert alice.log_in("alice") == (200, "page of alice")
        assert carol.log_in("carol") == (200, "page of carol")
        for _ in range(10):
            assert bob.get()[0] == 401
            assert alice.get()[:2] == (200, "page of alice")
            assert carol.get()[:2] == (200, "page of carol")
        alice.connection.close()
        for client in [Client(port) for _ in range(10)]:
            assert client.get()[0] == 401
