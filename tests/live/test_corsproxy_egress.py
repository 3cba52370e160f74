"""Exits of the CORS proxy on real sockets: a source address, proxies, and another lbproxy."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("ada_url")

from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from tests.support import tls
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports

from .test_corsproxy import PUBLIC, serve

pytestmark = [pytest.mark.live]

TEXT = """
[lbproxy]
guard_public = 127.95.1.0/24
transport = {transport}
{egress}
[frontend cors]
mode = corsproxy
listen = tcp:{port}:interface=127.0.0.1
guard_ports = {target}
target_ca = {ca}
open = yes
"""


class Peer(BaseHTTPRequestHandler):
    """Answers with the address of its client, and the fields of the request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        found = {name.lower(): value for name, value in self.headers.items()}
        text = json.dumps({"peer": self.client_address[0], **found}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


class SmallProxy:
    """An HTTP CONNECT and SOCKS5 proxy on loopback.  ``asked``: what it was asked for."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.asked: list[str] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as file:
            host, port = self._connect(file) if self.kind == "http" else self._socks(client, file)
            self.asked.append(host)
            with socket.create_connection((host, port)) as server:
                if self.kind == "http":
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                else:
                    client.sendall(b"\x05\x00\x00\x01" + bytes(6))
                back = threading.Thread(target=_pipe, args=(server, client), daemon=True)
                back.start()
                _pipe(client, server)
                back.join(10)

    @staticmethod
    def _connect(file: Any) -> tuple[str, int]:
        words = file.readline().split()
        while file.readline().strip():
            pass
        host, _, port = words[1].decode().rpartition(":")
        return host, int(port)

    @staticmethod
    def _socks(client: socket.socket, file: Any) -> tuple[str, int]:
        file.read(file.read(2)[1])
        client.sendall(b"\x05\x00")
        head = file.read(10)
        return socket.inet_ntoa(head[4:8]), int.from_bytes(head[8:10], "big")


def _pipe(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def running() -> Iterator[list[Any]]:
    """What is stopped at the end."""
    found: list[Any] = []
    yield found
    for one in found:
        one.shutdown() if isinstance(one, ThreadingHTTPServer) else one.stop()


def ask(port: int, url: str, colo: str) -> tuple[int, dict[str, str]]:
    """Call the proxy by an exit; return the status and the JSON."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        target = f"/?url={quote(url, safe='')}&colo={colo}"
        client.sendall(f"GET {target} HTTP/1.0\r\nHost: p\r\n\r\n".encode())
        data = b""
        while more := client.recv(65536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("transport", ["epoll", "twisted"])
def test_a_source_address_and_proxies(tmp_path: Path, running: list[Any], transport: str) -> None:
    port, target = free_ports(2)
    connect, socks = SmallProxy("http"), SmallProxy("socks5")
    egress = f"""
[egress source]
source = 127.95.1.77
[egress far]
source = 192.0.2.1
[egress loop]
interface = lo
[egress connect]
proxy = http://127.0.0.1:{connect.port}
[egress socks]
proxy = socks5://localhost:{socks.port}
"""
    text = TEXT.format(
        egress=egress, port=port, target=target, ca=tls.ca_file(tmp_path), transport=transport
    )
    running.append(LBProcess(text, tmp_path / "lb", forked=True))
    pem = tls.write(tls.issue(PUBLIC), tmp_path, "good")
    running += [serve(PUBLIC, target, pem, Peer), serve("127.95.1.2", target, "", Peer)]
    plain, secure = f"http://127.95.1.2:{target}/", f"https://{PUBLIC}:{target}/"
    assert ask(port, plain, "source")[1]["peer"] == "127.95.1.77"
    assert ask(port, secure, "source")[1]["peer"] == "127.95.1.77"
    assert ask(port, plain, "far")[0] == 502
    assert ask(port, plain, "loop")[0] == 200
    for name, proxy in (("connect", connect), ("socks", socks)):
        for url in (plain, secure):
            status, found = ask(port, url, name)
            assert status == 200
            assert found["host"] == url.split("/")[2]
        assert proxy.asked == ["127.95.1.2", PUBLIC]
    assert ask(port, f"http://127.0.0.1:{target}/", "connect")[0] == 403
    assert len(connect.asked) == 2
    for one in (connect, socks):
        one.socket.close()


def test_another_lbproxy_over_tls(tmp_path: Path, running: list[Any]) -> None:
    port, far, target = free_ports(3)
    ca = tls.ca_file(tmp_path)
    keys = tmp_path / "keys.json"
    keys.write_text(KeyRing([KeyRecord("near", hashed("K" * 20))]).dump())
    pem = tls.write(tls.issue("localhost"), tmp_path, "far")
    other = f"""
[lbproxy]
guard_public = 127.95.1.0/24
[frontend cors]
mode = corsproxy
listen = tls:{far}:interface=127.0.0.1 certificates={pem}
guard_ports = {target}
keys = {keys}
key_header = X-Far-Key
target_header = X-Far-Target
"""
    running.append(LBProcess(other, tmp_path / "far", forked=True))
    egress = f"""
[egress there]
lbproxy = https://localhost:{far}
api_key = {"K" * 20}
key_header = X-Far-Key
target_header = X-Far-Target
ca = {ca}
[egress wrong]
lbproxy = https://localhost:{far}
api_key = wrong
key_header = X-Far-Key
target_header = X-Far-Target
ca = {ca}
"""
    text = TEXT.format(egress=egress, port=port, target=target, ca=ca, transport="auto")
    running.append(LBProcess(text, tmp_path / "near", forked=True))
    running.append(serve(PUBLIC, target, "", Peer))
    url = f"http://{PUBLIC}:{target}/"
    status, found = ask(port, url, "there")
    assert status == 200
    assert found["host"] == f"{PUBLIC}:{target}"
    assert "x-api-key" not in found
    assert "x-target-url" not in found
    assert "x-far-key" not in found
    assert "x-far-target" not in found
    assert ask(port, url, "wrong")[0] == 401
    status, refused = ask(port, f"http://127.95.2.1:{target}/", "there")
    assert status == 403, refused
