"""The CORS proxy on real sockets: TLS targets, keys with two workers, and a browser."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner

pytest.importorskip("ada_url")

from lbproxy.cli import main
from tests.support import tls
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import accepts, until
from tests.support.required import program

pytestmark = [pytest.mark.live]

PUBLIC = "127.95.1.1"
"""Stands for a public address; ``guard_public`` names its network."""

TEXT = """
[lbproxy]
guard_public = 127.95.1.0/24
workers = {workers}
[frontend cors]
mode = corsproxy
listen = tcp:{port}:interface=127.0.0.1
guard_ports = {target}
{more}
"""
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Target(BaseHTTPRequestHandler):
    """Echoes method and body.

    /socket speaks WebSocket: the first message comes back.  /stream sends its second part when
    ``seen`` is set, because the client has got the first.
    """

    protocol_version = "HTTP/1.1"
    seen = threading.Event()

    def handle_any(self) -> None:
        """Answer any method."""
        if self.headers.get("Upgrade") == "websocket":
            self.socket_echo()
            return
        if self.path == "/stream":
            self.stream()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        text = json.dumps(
            {
                "method": self.command,
                "body": body.decode(),
                "cookie": self.headers.get("Cookie"),
                "custom": self.headers.get("X-Custom"),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Seen", "yes")
        self.send_header("Set-Cookie", "a=b")
        self.end_headers()
        self.wfile.write(text)

    def stream(self) -> None:
        """Send a body in two parts."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nfirst\r\n")
        self.wfile.write(b"6\r\nsecond\r\n" if self.seen.wait(10) else b"4\r\nlate\r\n")
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = handle_any

    def socket_echo(self) -> None:
        """Take one masked text frame and send it back."""
        key = self.headers["Sec-WebSocket-Key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        size = self.rfile.read(2)[1] & 127
        mask = self.rfile.read(4)
        data = bytes(one ^ mask[at % 4] for at, one in enumerate(self.rfile.read(size)))
        self.wfile.write(bytes((0x81, size)) + data)
        self.rfile.read(2)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


def serve(address: str, port: int, pem: str = "", handler: Any = Target) -> ThreadingHTTPServer:
    """Start a server in a thread, with TLS if there is a certificate."""
    server = ThreadingHTTPServer((address, port), handler)
    server.daemon_threads = True
    if pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Start:
    """Starts lbproxy.  ``running``: its processes."""

    def __init__(self, folder: Path) -> None:
        self.running: list[LBProcess] = []
        self._folder = folder
        self._text = ""

    def __call__(self, more: str, workers: int = 1) -> tuple[int, int]:
        """Return the port of the proxy and that of targets."""
        port, target = free_ports(2)
        self._text = TEXT.format(port=port, target=target, more=more, workers=workers)
        self.again()
        return port, target

    def again(self) -> None:
        """Start with the same configuration."""
        self.running.append(LBProcess(self._text, self._folder, forked=True))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start lbproxy: its port and that of targets."""
    begin = Start(tmp_path / "lb")
    yield begin
    for one in begin.running:
        one.stop()


def get(port: int, url: str, **headers: str) -> tuple[int, bytes]:
    """Call the proxy on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", f"/?url={quote(url, safe='')}", headers=sent)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def keys(file: Path, *words: str) -> str:
    """Run ``lbproxy keys`` and return what it prints."""
    result = CliRunner().invoke(main, ["keys", *words, "--file", str(file)])
    assert result.exit_code == 0, result.output
    return str(result.stdout).strip()


def test_certificates_of_targets_are_verified(start: Any, tmp_path: Path) -> None:
    port, target = start(f"open = yes\ntarget_ca = {tls.ca_file(tmp_path)}")
    good = tls.write(tls.issue(PUBLIC), tmp_path, "good")
    other = tls.write(tls.issue("127.95.1.9"), tmp_path, "other")
    unknown = tls.write(tls.issue("127.95.1.3", trusted=False), tmp_path, "unknown")
    servers = [
        serve(PUBLIC, target, good),
        serve("127.95.1.2", target, other),
        serve("127.95.1.3", target, unknown),
    ]
    assert get(port, f"https://{PUBLIC}:{target}/")[0] == 200
    assert get(port, f"https://127.95.1.2:{target}/")[0] == 502
    assert get(port, f"https://127.95.1.3:{target}/")[0] == 502
    for server in servers:
        server.shutdown()


def test_workers_see_a_new_key_and_a_revoked_one(start: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    first = keys(file, "add", "first")
    port, target = start(f"keys = {file}", workers=2)
    server = serve(PUBLIC, target)
    url = f"http://{PUBLIC}:{target}/"
    assert {get(port, url, X_Api_Key=first)[0] for _ in range(12)} == {200}
    second = keys(file, "add", "second")
    keys(file, "revoke", "first")

    def statuses(key: str) -> set[int]:
        return {get(port, url, X_Api_Key=key)[0] for _ in range(12)}

    assert until(lambda: statuses(first) == {401} and statuses(second) == {200})
    server.shutdown()


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_quotas_hold_under_load_and_over_kill(start: Any, tmp_path: Path, workers: int) -> None:
    file = tmp_path / "keys.json"
    key = keys(file, "add", "app", "--requests", "200/1h", "--concurrent", "4")
    other = keys(file, "add", "other")
    port, target = start(f"keys = {file}\norigins = https://app.example.com", workers=workers)
    server = serve(PUBLIC, target)
    url = f"http://{PUBLIC}:{target}/"
    found: list[int] = []

    def ask() -> None:
        for _ in range(40):
            found.append(get(port, url, X_Api_Key=key, Origin="https://app.example.com")[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(200) >= 100  # concurrent may refuse the next call a moment too early
    start.running[-1].child.kill()
    until(lambda: not accepts(port))  # the workers end a moment after their master
    start.again()
    while len(found) < 400:
        found.append(get(port, url, X_Api_Key=key)[0])
    assert set(found) == {200, 429}
    assert abs(found.count(200) - 200) <= 2  # 1 %
    assert get(port, url, X_Api_Key=other)[0] == 200
    assert get(port, url, X_Api_Key=other, Origin="https://evil.example")[0] == 403
    (usage,) = json.loads(keys(file, "usage", "app", "--json"))
    assert usage["requests"] == found.count(200)
    assert usage["refused"] == found.count(429)
    server.shutdown()


PAGE = """<!doctype html><meta charset="utf-8"><body><script>
const proxy = "http://127.0.0.1:%(port)d/?url=";
const target = "%(url)s";
const call = (url, options) => fetch(proxy + encodeURIComponent(url), options);
const tried = async what => { try { return await what(); } catch (e) { return "" + e.name; } };
const socket = () => new Promise(done => {
  const ws = new WebSocket(
    "ws://127.0.0.1:%(port)d/?url=" + encodeURIComponent(target.replace("http", "ws") + "socket"));
  ws.onopen = () => ws.send("ping");
  ws.onmessage = event => { done(event.data); ws.close(); };
  ws.onerror = () => done("error");
});
(async () => {
  const out = {};
  out.direct = await tried(async () => (await fetch(target)).status);
  out.simple = await tried(async () => (await call(target)).json());
  out.header = await tried(async () => (await call(target)).headers.get("X-Seen"));
  out.put = await tried(async () => (await call(target, {
    method: "PUT", body: "upload".repeat(20000), headers: {"X-Custom": "c"}})).json());
  out.put.body = out.put.body && out.put.body.length;
  out.stream = await tried(async () => {
    const reader = (await call(target + "stream")).body.getReader();
    const text = part => new TextDecoder().decode(part.value);
    const parts = [text(await reader.read())];
    await fetch("/seen", {method: "POST", body: "x"});
    for (;;) { const part = await reader.read(); if (part.done) return parts;
               parts.push(text(part)); }
  });
  out.refused = await tried(async () => (await call(target, {
    method: "DELETE", headers: {"X-Custom": "c"}})).status);
  out.error = await tried(async () => (await call("http://10.0.0.1/")).json());
  out.credentials = await tried(async () => (await call(target, {credentials: "include"})).status);
  out.socket = await socket();
  await fetch("/result", {method: "POST", body: JSON.stringify(out)});
})();
</script>"""


@pytest.mark.long
def test_a_browser(start: Any, tmp_path: Path) -> None:
    chromium = program("chromium")
    (page_port,) = free_ports(1)
    port, target = start(f"origins = http://127.0.0.1:{page_port}")
    text = PAGE % {"port": port, "url": f"http://{PUBLIC}:{target}/"}

    results: Queue[dict[str, Any]] = Queue()

    class Page(Target):
        """The page on an origin of its own, to which it also sends its results."""

        def do_GET(self) -> None:
            """Send the page."""
            self.answer(text.encode())

        def do_POST(self) -> None:
            """Take the results, or the word that the first part has arrived."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/seen":
                Target.seen.set()
            else:
                results.put(json.loads(body))
            self.answer(b"")

        def answer(self, body: bytes) -> None:
            """Send a page."""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    servers = [serve(PUBLIC, target), serve("127.0.0.1", page_port, handler=Page)]
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking"
    browser = subprocess.Popen(
        [
            *(chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"),
            *("--remote-debugging-port=0", f"http://127.0.0.1:{page_port}/"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        out = results.get(timeout=90)
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
    assert out["direct"] == "TypeError"  # the target itself sends no CORS headers
    assert out["simple"] == {"method": "GET", "body": "", "cookie": None, "custom": None}
    assert out["header"] == "yes"
    assert (out["put"]["method"], out["put"]["body"], out["put"]["custom"]) == ("PUT", 120_000, "c")
    assert out["stream"] == ["first", "second"]
    assert out["refused"] == 501  # the target knows no DELETE, and the page can see that
    assert out["error"]["error"]["status"] == 403
    assert out["credentials"] == "TypeError"
    assert out["socket"] == "ping"
    for server in servers:
        server.shutdown()
