"""``lbproxy cache warm`` against a server that answers as a cache does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lbproxy.cli import main
from lbproxy.cli.warming import WarmOptions, warm
from tests.live.clients import ThreadServer, heads

STORED = b"main; fwd=uri-miss; fwd-status=200; ttl=60; stored"
HIT = b"main; hit; ttl=60"
PRIVATE = b'main; fwd=uri-miss; fwd-status=200; detail="not stored: private, hit; stored (5.2)"'


class Peer:
    """Answers by path: ``/hit``, ``/private``, ``/cut``, ``/hang``, ``/plain``; others are
    stored.  ``close``: after each response."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.close = False
        self.connections = 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self.server = ThreadServer(self._serve)

    def _serve(self, sock: Any) -> None:
        self.connections += 1
        for head in heads(sock):
            with self._lock:
                self.requests.append(head)
            target = head.split(b" ")[1]
            said = {b"/hit": HIT, b"/private": PRIVATE}.get(target, STORED)
            length = b"9" if target == b"/cut" else b"5"
            if target == b"/early":
                sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" * 2)
            if target == b"/trickle":
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
                for _ in range(999):
                    sock.sendall(b"x")
                    if self.over.wait(0.1):
                        break
                return
            if target == b"/hang":
                self.over.wait(100)
                return
            field = b"" if target == b"/plain" else b"Cache-Status: origin; hit, " + said + b"\r\n"
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n%b\r\nhello" % (length, field))
            if self.close or target == b"/cut":
                return


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.over.set()
    made.server.__exit__(None, None, None)


@pytest.fixture
def run(peer: Peer, tmp_path: Path) -> Callable[..., Result]:
    def invoke(lines: str, *words: str) -> Result:
        file = tmp_path / "urls.txt"
        file.write_text(lines.replace("HOST", peer.server.address))
        return CliRunner().invoke(main, ["cache", "warm", str(file), *words])

    return invoke


def test_each_url_is_requested_once(run: Callable[..., Result], peer: Peer) -> None:
    lines = "# pages\nhttp://HOST/a?b=1\n\nhttp://HOST/hit\n"
    result = run(lines, "--rate", "1000/s", "--at-once", "1", "-H", "Accept-Encoding: gzip")
    assert (result.exit_code, result.output) == (
        0,
        "1 stored, 1 were in the cache, 0 failed; 10 bytes received\n",
    )
    first, second = peer.requests
    assert first.startswith(b"GET /a?b=1 HTTP/1.1\r\nHost: " + peer.server.address.encode())
    assert b"Accept-Encoding: gzip\r\n" in first
    assert second.startswith(b"GET /hit ")
    assert peer.connections == 1


def test_urls_are_encoded_as_browsers_do(run: Callable[..., Result], peer: Peer) -> None:
    result = run("HTTP://HOST/größe?q=ü#part\n", "--rate", "1000/s")
    assert result.exit_code == 0
    assert peer.requests[0].startswith(b"GET /gr%C3%B6%C3%9Fe?q=%C3%BC HTTP/1.1\r\n")


def test_interim_responses_are_not_the_response(run: Callable[..., Result]) -> None:
    result = run("http://HOST/early\nhttp://HOST/hit\n", "--rate", "1000/s", "--at-once", "1")
    assert result.output == "1 stored, 1 were in the cache, 0 failed; 10 bytes received\n"


def test_the_deadline_holds_for_a_body_that_trickles(run: Callable[..., Result]) -> None:
    start = time.monotonic()
    result = run("http://HOST/trickle\n", "--deadline", "1s")
    assert "the deadline passed while the body was being read" in result.output
    assert time.monotonic() - start < 60, "seconds; the body takes 100"


def test_what_failed_is_printed_with_its_reason(run: Callable[..., Result]) -> None:
    lines = "http://HOST/private\nhttp://HOST/cut\nhttp://HOST/plain\nftp://HOST/x\nhttp://a b/\n"
    result = run(lines, "--rate", "1000/s", "--json")
    assert result.exit_code == 1
    report = json.loads(result.output)
    reasons = {one["url"].rpartition("/")[2]: one["reason"] for one in report["failures"]}
    assert reasons == {
        "private": "status 200: not stored: private, hit; stored (5.2)",
        "cut": reasons["cut"],
        "plain": "status 200 without Cache-Status",
        "x": "not a URL of http or https",
        "": "not a URL of http or https",
    }
    assert "IncompleteRead" in reasons["cut"] or "truncated" in reasons["cut"]
    assert (report["stored"], report["failed"], report["late"]) == (0, 5, 0)


def test_a_connection_that_was_closed_meanwhile_is_made_again(
    run: Callable[..., Result], peer: Peer
) -> None:
    peer.close = True
    result = run("http://HOST/a\nhttp://HOST/b\n", "--rate", "20/s", "--at-once", "1")
    assert result.output.startswith("2 stored")
    assert peer.connections == 2


def test_the_deadline_ends_requests_and_leaves_the_rest(run: Callable[..., Result]) -> None:
    before = time.monotonic()
    lines = "http://HOST/hang\n" + "http://HOST/b\n" * 50
    result = run(lines, "--rate", "10/s", "--at-once", "1", "--deadline", "300ms")
    assert time.monotonic() - before < 60, "seconds; the response takes 100"
    assert result.exit_code == 1
    assert "timed out" in result.output
    assert "50 not requested before the deadline" in result.output


def test_input_without_end_ends_at_the_deadline(peer: Peer) -> None:
    url = f"http://{peer.server.address}/a"
    before = time.monotonic()
    report = warm(repeat(url), WarmOptions(deadline=0.2, rate=100), lambda _: None)
    assert time.monotonic() - before < 60, "seconds; there is no last URL"
    assert report.done > 0
    assert report.late > 0


def test_input_that_stays_away_ends_at_the_deadline(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproxy.cli.warming.GRACE", 0.1)
    monkeypatch.setattr("lbproxy.cli.warming.COUNTING", 0.1)

    def urls() -> Iterator[str]:
        yield f"http://{peer.server.address}/a"
        peer.over.wait(100)

    before = time.monotonic()
    report = warm(urls(), WarmOptions(deadline=0.5), lambda _: None)
    assert time.monotonic() - before < 60, "seconds; the next URL takes 100"
    assert (report.stored, report.late) == (1, 0)


def test_a_silent_pipe_ends_at_the_deadline(peer: Peer) -> None:
    command = [sys.executable, "-m", "lbproxy", "cache", "warm", "-", "--deadline", "500ms"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"http://{peer.server.address}/a\nhttp://h/begun".encode())
        process.stdin.flush()
        assert process.wait(60) == 1
        text = process.stdout.read().decode()
    assert text.startswith("1 stored, 0 were in the cache, 0 failed, 1 not requested before")


def test_the_rate_bounds_the_requests(run: Callable[..., Result], peer: Peer) -> None:
    before = time.monotonic()
    assert run("http://HOST/a\n" * 7, "--rate", "20/s").exit_code == 0
    assert time.monotonic() - before >= 0.28
    assert len(peer.requests) == 7


def test_connect_names_the_listener(run: Callable[..., Result], peer: Peer) -> None:
    result = run("http://www.example.com/a\n", "--connect", peer.server.address)
    assert result.output.startswith("1 stored")
    assert b"Host: www.example.com\r\n" in peer.requests[0]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--connect", "8080"), "HOST:PORT"),
        (("--connect", "h:0"), "HOST:PORT"),
        (("--rate", "fast"), "is not a rate"),
        (("--deadline", "soon"), "duration"),
        (("-H", "nonsense"), "NAME: VALUE"),
        (("-H", "A: b\r\nX: y"), "NAME: VALUE"),
        (("--ca", "missing.pem"), "missing.pem"),
    ],
)
def test_mistakes_are_reported(
    run: Callable[..., Result], words: tuple[str, str], wrong: str
) -> None:
    result = run("http://HOST/a\n", *words)
    assert result.exit_code == 2
    assert wrong in result.output


def test_a_line_that_is_too_long_is_one_failure(run: Callable[..., Result]) -> None:
    result = run("http://HOST/" + "x" * 100_000 + "\nhttp://HOST/a\n", "--rate", "100/s")
    assert "1 stored, 0 were in the cache, 1 failed" in result.output


def test_a_name_that_dns_cannot_have_is_one_failure(run: Callable[..., Result]) -> None:
    lines = f"http://a..b/\nhttp://{'a' * 70}.example/\nhttp://HOST/a\n"
    result = run(lines, "--rate", "1000/s", "--at-once", "1")
    assert "1 stored, 0 were in the cache, 2 failed" in result.output
