"""The cache under kills and damage: never a wrong byte, always a working proxy.

Bodies depend on their path, so a wrong byte shows in any of them.

``LBPROXY_KILLS=200 pytest -m long tests/live/test_caching_crash.py`` kills 200 times.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.live.clients import heads
from tests.live.test_caching import Origin, get, resident
from tests.live.test_caching_workers import BodyOrigin, body_of, kill_a_worker, start
from tests.support.process import until

pytestmark = [pytest.mark.live, pytest.mark.long]

KILLS = int(os.environ.get("LBPROXY_KILLS", "60"))


@pytest.fixture
def transport() -> str:
    """One transport: the store does not depend on it."""
    return "epoll"


class Asking:
    """Threads that request random paths, compare each body, and count hits and failures."""

    def __init__(self, port: int, paths: int, seed: int, threads: int = 4) -> None:
        self.port, self.paths = port, paths
        self.wrong: list[str] = []
        self.hits = self.answers = self.failures = 0
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(Random(seed + number),))
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, random: Random) -> None:
        while not self._over.is_set():
            path = f"/{random.randrange(self.paths)}"
            try:
                status, body, said = get(self.port, path, "h")
            except (OSError, http.client.HTTPException):
                self.failures += 1  # its process was killed
                time.sleep(0.01)
                continue
            if status == 200 and body != body_of(path):
                self.wrong.append(f"{path}: {len(body)} bytes, {said}")
            self.answers += status == 200
            self.hits += said.startswith("main; hit")

    def goes_on(self, count: int = 50) -> bool:
        """Whether ``count`` more answers come."""
        before = self.answers
        return until(lambda: self.answers >= before + count, 60)

    def end(self) -> None:
        """Stop, and fail if a body was wrong."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert not self.wrong


def test_a_balancer_killed_while_it_writes_serves_no_wrong_byte(
    balancer: Callable[..., Any], tmp_path: Path
) -> None:
    origin, random = BodyOrigin(), Random(7)
    hits = 0
    for round_ in range(KILLS):
        cache = f"disk = {tmp_path}/store 8m\nmax_object = 2m"
        lb, web, _ = start(balancer, origin, cache, 1)
        asking = Asking(web, 60, round_ * 10)
        time.sleep(random.random() * 0.4)
        lb.kill()
        asking.end()
        hits += asking.hits
        shutil.rmtree(tmp_path / f"lb-{round_}")
    assert hits > KILLS


def test_killed_workers_block_nobody_and_leave_no_wrong_byte(
    balancer: Callable[..., Any], tmp_path: Path
) -> None:
    random = Random(11)
    lb, web, _ = start(balancer, BodyOrigin(), f"disk = {tmp_path}/store 8m\nmax_object = 2m")
    asking = Asking(web, 60, 1)
    killed = 0
    while killed < KILLS:
        assert asking.goes_on(5), f"after {killed} kills"
        time.sleep(random.random() * 0.1)
        killed += kill_a_worker(lb.process.pid, random)
    assert asking.goes_on(), "it answers after the last kill"
    asking.end()
    assert asking.hits > KILLS


def files_of(folder: Path) -> list[Path]:
    """The files of responses in a store, without those that are being written."""
    return [one for one in folder.glob("*/*") if one.suffix != ".t"]


def flip(file: Path, random: Random) -> None:
    """Change one bit of a file, with its times as they were."""
    facts = file.stat()
    if not facts.st_size:
        return
    with file.open("r+b") as stream:
        at = random.randrange(facts.st_size)
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ (1 << random.randrange(8))]))
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def whole(port: int, path: str) -> bytes:
    """Return a body.  One that is written just now may have been flipped, and is cut then."""
    with suppress(OSError, http.client.HTTPException):
        return get(port, path, "h")[1]
    return get(port, path, "h")[1]


@pytest.mark.parametrize("running", [True, False])
def test_a_flipped_bit_is_logged_and_never_served(
    balancer: Callable[..., Any], tmp_path: Path, running: bool
) -> None:
    random, origin = Random(13), BodyOrigin()
    store = tmp_path / "store"
    cache = f"memory = 2m\nmax_object = 2m\ndisk = {store} 64m"
    lb, web, _ = start(balancer, origin, cache, 1)
    paths = [f"/{number}" for number in range(40)]
    for path in paths:
        assert get(web, path, "h")[1] == body_of(path)
    assert until(lambda: len(files_of(store)) >= 40, 60)
    for round_ in range(10):
        if not running:
            lb.process.stop()
            lb.killed = True
        for file in files_of(store):
            with suppress(FileNotFoundError):  # another response has taken its place
                flip(file, random)
        if not running:
            lb, web, _ = start(balancer, origin, cache, 1)
        for path in random.sample(paths, 10 if running else 40):
            assert get(web, path, "h")[1] == body_of(path), f"round {round_}, {path}"
        lb.wait_output("has a damaged file")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_and_a_read_only_disk_cost_no_request(
    balancer: Callable[..., Any], small_disk: Path
) -> None:
    store = small_disk / "store"
    lb, web, _ = start(balancer, BodyOrigin(), f"disk = {store} 64m\nmax_object = 2m", 1)
    asking = Asking(web, 60, 5)
    lb.wait_output("No space left on device")
    assert until(lambda: asking.answers > 100 and asking.hits > 20)
    mounts = ["--bind", str(store), str(store)], ["-o", "remount,ro,bind", str(store)]
    os.kill(lb.process.pid, signal.SIGSTOP)  # a mount with files that are written stays writable
    for words in mounts:
        subprocess.run(["mount", *words], check=True)
    os.kill(lb.process.pid, signal.SIGCONT)
    lb.wait_output("Read-only file system")
    assert asking.goes_on()
    subprocess.run(["umount", "-l", str(store)], check=True)
    asking.end()
    assert not asking.failures


def test_a_removed_folder_costs_no_request(balancer: Callable[..., Any], tmp_path: Path) -> None:
    store = tmp_path / "store"
    _, web, _ = start(balancer, BodyOrigin(), f"disk = {store} 64m\nmax_object = 2m")
    asking = Asking(web, 60, 5)
    for _ in range(5):
        assert until(lambda: store.is_dir() and len(files_of(store)) > 5)
        shutil.rmtree(store, ignore_errors=True)
        assert asking.goes_on()
    asking.end()
    assert not asking.failures


class LargeOrigin(Origin):
    """Answers with 1 GiB."""

    size = 1 << 30
    piece = blake2b(b"large", digest_size=64).digest() * 16384

    def _serve(self, sock: Any) -> None:
        for _ in heads(sock):
            self.count += 1
            text = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {self.size}"
            sock.sendall(text.encode() + b"\r\n\r\n")
            for _ in range(self.size // len(self.piece)):
                sock.sendall(self.piece)


def test_memory_is_flat_while_a_hundred_slow_clients_read_a_gibibyte(
    balancer: Callable[..., Any], tmp_path: Path
) -> None:
    origin = LargeOrigin()
    cache = f"memory = 64m\ndisk = {tmp_path}/store 4g\nmax_object = 2g"
    lb, web, _ = start(balancer, origin, cache, 1)
    pid = lb.process.pid
    before, most = resident(pid), 0
    over = threading.Event()

    def slow() -> int:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(("127.0.0.1", web))
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        got = 0
        with sock:
            while not over.is_set():
                got += len(sock.recv(16384))
                time.sleep(0.05)
        return got

    def fast() -> bool:
        client = http.client.HTTPConnection("127.0.0.1", web, timeout=300)
        client.request("GET", "/big", headers={"Host": "h"})
        response = client.getresponse()
        pieces = origin.size // len(origin.piece)
        same = all(response.read(len(origin.piece)) == origin.piece for _ in range(pieces))
        return same and not response.read(1)

    with ThreadPoolExecutor(101) as pool:
        readers = [pool.submit(slow) for _ in range(100)]
        first = pool.submit(fast)
        while not first.done():
            most = max(most, resident(pid))
            time.sleep(0.1)
        again = pool.submit(fast)
        while not again.done():
            most = max(most, resident(pid))
            time.sleep(0.1)
        over.set()
        assert all(one.result() > 100_000 for one in readers)
        assert first.result()
        assert again.result()
    assert origin.count == 1
    assert most - before < 64 << 20, f"it grew by {(most - before) >> 20} MiB"
