"""``lbproxy top`` in a pseudo-terminal, before a running lbproxy."""

from __future__ import annotations

import fcntl
import http.client
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.lb_process import LBProcess
from tests.support.origin import RawOrigin
from tests.support.ports import free_port

pyte = pytest.importorskip("pyte")
pytest.importorskip("rich")

COMMAND = [sys.executable, "-m", "lbproxy", "top"]


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, argv: list[str], columns: int = 120, lines: int = 30) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(inner)
        self.inner = inner
        self.process = subprocess.Popen(
            argv, stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""},
        )  # fmt: skip

    def read(self, seconds: float = 0.1) -> None:
        while select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return
            if not data:
                return
            self._stream.feed(data)

    def wait(self, shown: Callable[[str], bool], seconds: float = 40) -> str:
        """Until the screen is as wanted."""
        deadline = time.monotonic() + seconds
        while True:
            self.read()
            text = "\n".join(self.screen.display)
            if shown(text):
                return text
            assert time.monotonic() < deadline, text

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        os.close(self.fd)
        os.close(self.inner)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def make(*argv: str, **options: int) -> Terminal:
        made.append(Terminal([*COMMAND, *argv], **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[LBProcess, int, int]]:
    origin = RawOrigin(tmp_path / "origin").start()
    admin, port, closed = free_port(), free_port(), free_port()
    text = f"""
    [lbproxy]
    admin = tcp:{admin}:interface=127.0.0.1
    [frontend web]
    listen = tcp:{port}:interface=127.0.0.1
    backend = app
    [backend app]
    servers =
        good {origin.address}
        gone 127.0.0.1:{closed}
    check = tcp every=1s
    """
    with LBProcess(text, tmp_path / "lb", ports=[admin, port], timeout=60, forked=True) as process:
        yield process, admin, port
    origin.stop()


def get(port: int, count: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(count):
        connection.request("GET", "/ok")
        connection.getresponse().read()
    connection.close()


def test_it_shows_what_happens_and_takes_keys(
    site: tuple[LBProcess, int, int], terminal: Callable[..., Terminal]
) -> None:
    process, admin, port = site
    top = terminal("--admin", f"127.0.0.1:{admin}", "--every", "0.3")
    top.wait(lambda text: "app/good" in text and "▼ down" in text)
    get(port, 321)
    text = top.wait(lambda text: " 321 " in text)
    assert "servers 1/2" in text
    top.press("2")
    top.wait(lambda text: "balancer" in text and "roundrobin" in text)
    top.press("3")
    top.wait(lambda text: "listens on" in text and f"127.0.0.1:{port}" in text)
    top.press("1/gone\r")
    top.wait(lambda text: "filter 'gone'" in text and "app/good" not in text)
    top.press("\x1b")
    top.wait(lambda text: "app/good" in text)
    process.stop()
    top.wait(lambda text: "no connection" in text and "app/good" in text)
    top.press("q")
    assert top.process.wait(60) == 0
    assert termios.tcgetattr(top.inner)[3] == top.before[3], "the terminal is as it was"


def test_control_c_ends_it_in_good_order(
    site: tuple[LBProcess, int, int], terminal: Callable[..., Terminal]
) -> None:
    top = terminal("--admin", f"127.0.0.1:{site[1]}", columns=60, lines=12)
    top.wait(lambda text: "app/good" in text)
    os.killpg(top.process.pid, 2)
    assert top.process.wait(60) == 0
    assert termios.tcgetattr(top.inner)[3] == top.before[3]


def test_without_a_terminal_it_says_so() -> None:
    done = subprocess.run(
        [*COMMAND, "--admin", "127.0.0.1:9"], capture_output=True, text=True, timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2, "lbproxy: top needs a terminal; `lbproxy status` does not\n",
    )  # fmt: skip
