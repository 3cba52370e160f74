"""Clients that come, ask, leave too early, half-close and reset, for a while; then nothing of them
is left.

``LBPROXY_SOAK_S=600 pytest -m long tests/live/test_soak.py`` runs for 600 seconds.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time

import pytest

from tests.live.balancer import MEGABYTE
from tests.live.clients import Answers, ThreadServer, read_all
from tests.support import tls
from tests.support.ports import free_ports
from tests.support.process import until

CLIENTS = 12
GROWTH = 25.0
"""Most that resident memory may grow by after the first round, in megabytes."""

PATHS = ("/small", "/64k", "/1m", "/hello", "/nothing")
MISBEHAVED = (
    "/reset",
    "/close-mid-body",
    "/garbage",
    "/hang",
    "/slow",
    "/reset-mid-header",
    "/early",
)

CONFIG = """\
[frontend web]
listen =
    tcp:{http}:interface=127.0.0.1
    tls:{https}:interface=127.0.0.1 certificates={pem}
routes =
    path /small /64k /1m /hello /nothing /upload -> app
    default                                      -> wild
timeout_header = 500ms
timeout_body = 500ms
timeout_keepalive = 500ms
timeout_handshake = 500ms
timeout_client = 2s

[backend app]
balance = leastconn
check = http GET /healthz expect=200 every=500ms
pool_idle = 500ms
servers =
    a {a}
    b {b}

[backend wild]
timeout_response = 500ms
timeout_server = 500ms
pool_idle = 500ms
servers = a {wild}

[frontend raw]
mode = tcp
listen = tcp:{tcp}:interface=127.0.0.1
backend = echo
timeout_client = 2s

[backend echo]
timeout_server = 2s
servers = a {echo}
"""


def echo(sock):
    """What a client of the TCP frontend gets back."""
    while data := sock.recv(65536):
        sock.sendall(data)


class Client:
    """One client at a time, doing something by chance."""

    def __init__(self, ports, seed, context):
        self.ports = ports
        self.random = random.Random(seed)
        self.context = context
        self.answers = 0
        self.wrong = []
        self.actions = (
            self.polite, self.polite, self.pipeline, self.upload, self.leave_early, self.half_close,
            self.misbehaved, self.noise, self.tcp_echo, self.tcp_leave, self.tls_polite,
            self.tls_leave,
        )  # fmt: skip

    def act(self):
        action = self.random.choice(self.actions)
        try:
            action()
        except (OSError, EOFError) as error:
            if action in (self.polite, self.tls_polite, self.tcp_echo, self.pipeline):
                self.wrong.append((action.__name__, error))

    def connect(self, kind="http"):
        return socket.create_connection(("127.0.0.1", self.ports[kind]), 60)

    def end(self, sock):
        """A FIN or a reset."""
        if self.random.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def ask(self, sock, answers):
        path = self.random.choice(PATHS)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        status = answers.next()[0]
        if status != (404 if path == "/nothing" else 200):
            self.wrong.append((path, status))
        self.answers += 1

    def polite(self):
        with self.connect() as sock:
            answers = Answers(sock)
            for _ in range(self.random.randrange(1, 8)):
                self.ask(sock, answers)

    def pipeline(self):
        with self.connect() as sock:
            count = self.random.randrange(2, 20)
            sock.sendall(b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n" * count)
            answers = Answers(sock)
            for _ in range(count):
                assert answers.next()[0] == 200
                self.answers += 1

    def upload(self):
        size = self.random.randrange(1, 500_000)
        sent = self.random.choice((size, size, size // 2))
        with self.connect() as sock:
            sock.sendall(b"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
            sock.sendall(bytes(sent))
            if sent == size:
                assert Answers(sock).next()[0] == 200
            self.end(sock)

    def leave_early(self):
        with self.connect() as sock:
            sock.sendall(b"GET /1m HTTP/1.1\r\nHost: h\r\n\r\n"[: self.random.randrange(1, 40)])
            if self.random.random() < 0.5:
                sock.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    sock.recv(1000)
            self.end(sock)

    def half_close(self):
        with self.connect() as sock:
            sock.sendall(b"GET /64k HTTP/1.1\r\nHost: h\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            read_all(sock)

    def misbehaved(self):
        with self.connect() as sock:
            path = self.random.choice(MISBEHAVED)
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            Answers(sock).next()

    def noise(self):
        with self.connect(self.random.choice(("http", "https"))) as sock:
            sock.sendall(self.random.randbytes(self.random.randrange(1, 3000)))
            read_all(sock)

    def tcp_echo(self):
        data = self.random.randbytes(self.random.randrange(1, 60_000))
        with self.connect("tcp") as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            if read_all(sock) != data:
                self.wrong.append(("echo", len(data)))

    def tcp_leave(self):
        with self.connect("tcp") as sock:
            if self.random.random() < 0.7:
                sock.sendall(bytes(self.random.randrange(1, 60_000)))
            self.end(sock)

    def tls_polite(self):
        with (
            self.connect("https") as plain,
            self.context.wrap_socket(plain, server_hostname="h.test") as sock,
        ):
            answers = Answers(sock)
            for _ in range(self.random.randrange(1, 4)):
                self.ask(sock, answers)

    def tls_leave(self):
        with self.connect("https") as plain:
            if self.random.random() < 0.5:
                plain.sendall(b"\x16\x03\x01\x02\x00\x01")
                return
            with self.context.wrap_socket(plain, server_hostname="h.test") as sock:
                sock.sendall(b"GET /1m HTTP/1.1\r\nHost: h\r\n\r\n")
                self.end(sock)


def work(ports, context, seconds, seed):
    """All clients at once for so long; the clients."""
    deadline = time.monotonic() + seconds
    clients = [Client(ports, seed + i, context) for i in range(CLIENTS)]

    def live(client):
        while time.monotonic() < deadline:
            client.act()

    threads = [threading.Thread(target=live, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return clients


def soak(balancer, nginx_pair, raw_origin, folder, seconds):
    """The test itself; megabytes of growth and the number of answers."""
    import ssl

    pem = tls.write(tls.issue("h.test"), folder, "h")
    context = ssl.create_default_context(cafile=tls.ca_file(folder))
    ports = dict(zip(("http", "https", "tcp"), free_ports(3), strict=True))
    with ThreadServer(echo) as server:
        a, b = (origin.address for origin in nginx_pair)
        text = CONFIG.format(
            pem=pem, a=a, b=b, wild=raw_origin.address, echo=server.address, **ports
        )
        lb = balancer(text)
        process = lb.process
        base = process.descriptors()
        work(ports, context, min(3.0, seconds / 4), 1)  # buffers, pools and code are there after it
        before = process.rss_bytes()
        clients = work(ports, context, seconds, 1000)
        assert process.alive, lb.output()[-4000:]
        # a check may be under way at any time, with a descriptor of its own
        assert until(lambda: process.descriptors() <= base + 2), process.descriptors()
        growth = (process.rss_bytes() - before) / MEGABYTE
        assert not [wrong for client in clients for wrong in client.wrong]
        answers = sum(client.answers for client in clients)
        assert answers > 5 * seconds
        assert growth < GROWTH
        lb.records()  # every line is JSON
        return growth, answers


GROUPS = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"live-soak-{name}"))
    for name in ("epoll", "twisted")
]


@pytest.mark.live
@pytest.mark.long
@pytest.mark.parametrize("transport", GROUPS)
def test_soak(balancer, nginx_pair, raw_origin, tmp_path, record_property):
    """Memory, descriptors and counters return to what they were."""
    seconds = float(os.environ.get("LBPROXY_SOAK_S", "40"))
    growth, answers = soak(balancer, nginx_pair, raw_origin, tmp_path, seconds)
    record_property("growth_mb", growth)
    record_property("answers", answers)
