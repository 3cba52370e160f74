"""256 MB each way, complete, and without lbproxy's memory growing; a gigabyte in long tests."""

from __future__ import annotations

import queue
import re

import pytest

from tests.live.balancer import MEGABYTE
from tests.live.clients import Answers, ThreadServer, connect, digest_of, marked_file, read_all, run
from tests.live.test_http import logged_length, web
from tests.support.nginx import GIGABYTE
from tests.support.ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-transfer")]

GROWTH = 30.0
"""Most that resident memory may grow by, in megabytes."""

HALF = 500 * MEGABYTE


@pytest.fixture(
    scope="module",
    params=[256 * MEGABYTE, pytest.param(GIGABYTE, marks=pytest.mark.long)],
    ids=["256m", "1g"],
)
def big(live_folder, request):
    """A file, its size and its digest."""
    path = live_folder / "big"
    yield path, request.param, marked_file(path, request.param)
    path.unlink()


def receive(sock):
    """An HTTP server that tells the length and digest of the body it gets."""
    answers = Answers(sock)
    while True:
        try:
            head = answers.head_bytes()
        except EOFError:
            return
        if b"100-continue" in head.lower():
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(found[1]) if found else 0
        first, answers.buffer = answers.buffer, b""
        text = "{} {}".format(*digest_of(sock, first, size)).encode()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


def test_http_download(balancer, nginx, big, record_property):
    path, size, digest = big
    origin = nginx("a")
    (origin.folder / "files" / "big").symlink_to(path)
    port = free_port()
    lb = balancer(web(port, origin.address))

    def fetch(target):
        with connect(port) as sock:
            sock.sendall(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % target)
            answers = Answers(sock)
            status, headers = answers.head()
            assert status == 200
            return digest_of(sock, answers.buffer, int(headers[b"content-length"]))

    fetch(b"/64k")
    result, growth = lb.growth(lambda: fetch(b"/big"))
    record_property("growth_mb", growth)
    assert result == (size, digest)
    assert growth < GROWTH
    assert lb.wait_records(2)[1]["bytes_out"] == size


def test_http_upload(balancer, big, curl, record_property):
    path, size, digest = big
    with ThreadServer(receive) as server:
        port = free_port()
        lb = balancer(web(port, server.address))
        command = [curl, "--http1.1", "-sS", "-X", "POST", f"http://127.0.0.1:{port}/"]
        run([*command, "-d", "x"])
        done, growth = lb.growth(lambda: run([*command, "-T", str(path)]))
        record_property("growth_mb", growth)
        assert done.stdout == f"{size} {digest}"
        assert growth < GROWTH
        assert lb.wait_records(2)[1]["bytes_in"] == size


def test_http_upload_to_nginx(balancer, nginx, big, curl):
    path, size, _ = big
    origin = nginx("a", access_log=True)
    port = free_port()
    lb = balancer(web(port, origin.address))
    command = [curl, "--http1.1", "-sS", "-X", "POST", "-T", str(path)]
    done, growth = lb.growth(lambda: run([*command, f"http://127.0.0.1:{port}/upload"]))
    assert done.stdout == f"{size}\n"
    assert growth < GROWTH
    assert logged_length(origin) > size


def tcp(port, address):
    return (
        f"[frontend raw]\nmode = tcp\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = sink\n"
        f"[backend sink]\nservers = a {address}\n"
    )


def test_tcp_both_ways(balancer, big, record_property):
    path, size, digest = big

    def serve(sock):
        verb = sock.recv(1)
        if verb == b"G":
            with path.open("rb") as file:
                sock.sendfile(file)
        elif verb == b"P":
            sock.sendall("{} {}".format(*digest_of(sock)).encode())

    def download():
        with connect(port) as sock:
            sock.sendall(b"G")
            return digest_of(sock)

    def upload():
        with connect(port) as sock, path.open("rb") as file:
            sock.sendall(b"P")
            sock.sendfile(file)
            sock.shutdown(1)
            return read_all(sock).decode()

    with ThreadServer(serve) as server:
        port = free_port()
        lb = balancer(tcp(port, server.address))
        with connect(port) as sock:
            sock.sendall(b"P" + b"x" * 100_000)
            sock.shutdown(1)
            assert read_all(sock).startswith(b"100000 ")
        result, growth = lb.growth(download)
        assert result == (size, digest)
        assert growth < GROWTH
        record_property("growth_down_mb", growth)
        result, growth = lb.growth(upload)
        assert result == f"{size} {digest}"
        assert growth < GROWTH
        record_property("growth_up_mb", growth)


def test_a_client_that_does_not_read_holds_the_server_back(balancer, record_property):
    """The server can hand over what the kernel's buffers take and a little more, not all it has."""
    held: queue.Queue[int] = queue.Queue()
    block = bytes(MEGABYTE)

    def serve(sock):
        sock.settimeout(0.5)  # half a second in which nothing is taken: it is held back
        total = 0
        try:
            while total < HALF:
                total += sock.send(block)
        except TimeoutError:
            pass
        held.put(total)
        sock.settimeout(60)
        sock.sendall(b"end")

    def stall():
        with connect(port) as sock:
            total = held.get(timeout=60)
            return total, read_all(sock)

    with ThreadServer(serve) as server:
        port = free_port()
        lb = balancer(tcp(port, server.address))
        (total, data), growth = lb.growth(stall)
        record_property("growth_mb", growth)
        assert total < 64 * MEGABYTE
        assert (len(data), data[-3:]) == (total + 3, b"end")
        assert growth < GROWTH
