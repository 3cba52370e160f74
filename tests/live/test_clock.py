"""The system's clock is set by an hour while lbproxy serves: timeouts, checks and running requests
do not notice.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.live.clients import connect, read_all
from tests.support.lb_process import LBProcess
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.servers import lb_process

__all__ = ["lb_process"]

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-clock")]

# In the child: time.time() is off by what the modification time of a file says.
SITECUSTOMIZE = """
import os, time
_time = time.time
time.time = lambda: _time() + os.stat({path!r}).st_mtime - 1e9
"""


class Clock:
    """The clock of processes whose ``modules`` this is."""

    def __init__(self, folder: Path) -> None:
        self.modules = folder / "modules"
        self.modules.mkdir()
        self._file = folder / "offset"
        self._file.touch()
        self.set(0)
        (self.modules / "sitecustomize.py").write_text(SITECUSTOMIZE.format(path=str(self._file)))

    def set(self, offset: float) -> None:
        """Let it be ``offset`` seconds ahead."""
        self.offset = offset
        os.utime(self._file, (1e9, 1e9 + offset))


class Handler(BaseHTTPRequestHandler):
    """Answers at once, or ``/slow`` after 2 s."""

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(2)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def origin() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def ask(port: int, path: str = "/") -> int:
    """The status of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("step", [3600, -3600], ids=["forward", "back"])
def test_a_step_of_the_clock(
    lb_process: Callable[..., LBProcess],
    origin: ThreadingHTTPServer,
    tmp_path: Path,
    workers: int,
    step: int,
) -> None:
    clock = Clock(tmp_path)
    port = free_port()
    lb = lb_process(
        f"""\
        [lbproxy]
        workers = {workers}
        access_log = access.log json
        timeout_shutdown = 2s

        [frontend web]
        mode = http
        listen = tcp:127.0.0.1:{port}
        backend = app
        timeout_header = 2s

        [backend app]
        servers = a 127.0.0.1:{origin.server_port}
        check = tcp every=300ms fall=2 rise=1
        timeout_response = 20s
        retries = 0
        """,
        modules=clock.modules,
    )
    assert ask(port) == 200
    found: list[int] = []
    slow = threading.Thread(target=lambda: found.append(ask(port, "/slow")))
    slow.start()
    begun = time.monotonic()
    with connect(port) as stalled:
        stalled.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.5)
        clock.set(step)
        assert b" 408 " in read_all(stalled)
    assert 1.5 < time.monotonic() - begun < 60, "the deadline of a head"
    slow.join(60)
    assert found == [200], "a running request"
    origin.shutdown()
    origin.server_close()
    assert until(lambda: ask(port) == 503), "a check that fails"
    log = lb.folder / "access.log"
    assert until(lambda: b"no_server" in log.read_bytes())
    last = json.loads(log.read_bytes().splitlines()[-1])
    moment = datetime.fromisoformat(last["time"]).timestamp()
    assert abs(moment - (time.time() + step)) < 60, "dates go by the system's clock"
