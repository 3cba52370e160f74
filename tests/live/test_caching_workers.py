"""One cache for all workers, on real sockets: shared hits, purges that are true at once, kills."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from lbproxy.cli import main
from tests.live.balancer import ONE_TRANSPORT
from tests.live.test_caching import TEXT, Origin, get
from tests.support.ports import free_ports
from tests.support.process import until

pytestmark = [pytest.mark.live]


def start(
    balancer: Callable[..., Any], origin: Any, cache: str = "", workers: int = 2
) -> tuple[Any, int, int]:
    """lbproxy with workers, its port, and that of its API."""
    web, admin = free_ports(2)
    text = TEXT.format(web=web, a=origin.server.address, cache=cache)
    settings = f"workers = {workers}\nadmin = tcp:{admin}:interface=127.0.0.1"
    return balancer(text, settings=settings), web, admin


def run(admin: int, *words: str) -> str:
    """Output of ``lbproxy cache``."""
    result = CliRunner().invoke(main, ["cache", *words, "--admin", f"127.0.0.1:{admin}"])
    assert result.exit_code == 0, result.output
    return result.output


@ONE_TRANSPORT
@pytest.mark.parametrize("disk", [False, True])
def test_a_purge_is_true_in_all_workers(
    balancer: Callable[..., Any], tmp_path: Path, disk: bool
) -> None:
    origin = Origin(age=600)
    cache = f"disk = {tmp_path}/store 64m" if disk else ""
    _, web, admin = start(balancer, origin, cache)
    url = f"http://127.0.0.1:{web}/a"
    late = 0
    for number in range(10):
        origin.body = b"body %d" % number
        assert get(web)[1] == origin.body
        time.sleep(0.1)
        before = origin.count
        assert {get(web)[1] for _ in range(20)} == {origin.body}
        late += origin.count > before
        origin.body = b"newer %d" % number
        assert run(admin, "purge", url) == "main: 1 response purged\n"
        assert {get(web)[1] for _ in range(20)} == {origin.body}
        run(admin, "purge", "--all")
    assert late < 5, "what one worker stored serves the others, unless the machine is busy"
    get(web)
    assert until(lambda: url in run(admin, "list"))
    assert "main" in run(admin, "stats")
    assert "use: serve" in run(admin, "why", url)

    def hits() -> int:
        """Those of the workers: the master answers no request."""
        get(web)
        (item,) = json.loads(run(admin, "list", url, "--json"))
        return int(item["hits"])

    assert until(lambda: hits() > 0), "a worker that does not know of it yet fetches it again"
    origin.age = 0
    get(web, "/never")
    assert "stale at once" in run(admin, "why", url.replace("/a", "/never"))


@ONE_TRANSPORT
@pytest.mark.parametrize("disk", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_thousand_clients_on_an_expired_object_make_one_fetch(
    balancer: Callable[..., Any], tmp_path: Path, disk: bool
) -> None:
    origin = Origin(age=1)
    cache = f"disk = {tmp_path}/store 64m" if disk else ""
    _, web, _ = start(balancer, origin, cache)
    get(web)
    time.sleep(2)
    origin.age, origin.delay, before = 600, 1.0, origin.count
    with ThreadPoolExecutor(200) as pool:  # 200 at once, 5 times: the fetch takes a second
        found = list(pool.map(lambda _: get(web)[:2], range(1000)))
    assert set(found) == {(200, b"hello")}
    assert origin.count - before == 1


@ONE_TRANSPORT
def test_purges_under_load(balancer: Callable[..., Any]) -> None:
    """A request that begins after a purge has returned never gets what was fetched before it."""
    origin = Origin(age=600)
    _, web, admin = start(balancer, origin)
    current = [0]
    wrong: list[tuple[int, bytes]] = []
    over = threading.Event()
    origin.body = b"0"

    def ask() -> None:
        while not over.is_set():
            least = current[0]
            body = get(web)[1]
            if int(body) < least:
                wrong.append((least, body))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 40):
            origin.body = b"%d" % number
            run(admin, "purge", "--all")
            current[0] = number
            time.sleep(0.02)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.long
def test_a_killed_worker_blocks_nobody(balancer: Callable[..., Any], tmp_path: Path) -> None:
    """Bodies depend on their path, so that a wrong byte shows; workers are killed all the time."""
    origin = BodyOrigin()
    lb, web, _ = start(balancer, origin, f"disk = {tmp_path}/store 8m\nmax_object = 2m")
    random = Random(3)
    served = 0
    for _ in range(15):
        goal, deadline = served + 5, time.monotonic() + 60
        while served < goal and time.monotonic() < deadline:
            path = f"/{random.randrange(40)}"
            try:
                status, body, _ = get(web, path)
            except (OSError, http.client.HTTPException):
                continue  # its worker was killed
            assert status != 200 or body == body_of(path)
            served += status == 200
        kill_a_worker(lb.process.pid, random)
        assert served >= goal


@pytest.mark.long
def test_a_killed_balancer_serves_no_wrong_byte(
    balancer: Callable[..., Any], tmp_path: Path
) -> None:
    origin = BodyOrigin()
    random = Random(5)
    hits = 0
    for _ in range(6):
        lb, web, _ = start(balancer, origin, f"disk = {tmp_path}/store 8m\nmax_object = 2m", 1)
        deadline = time.monotonic() + 0.3 + random.random()
        while time.monotonic() < deadline:
            path = f"/{random.randrange(60)}"
            status, body, said = get(web, path, "h")
            assert (status, body) == (200, body_of(path))
            hits += said.startswith("main; hit")
        lb.kill()
    assert hits


class BodyOrigin(Origin):
    """Answers each path with a body of its own."""

    def _serve(self, sock: Any) -> None:
        from tests.live.clients import heads

        for head in heads(sock):
            body = body_of(head.split(b" ")[1].decode())
            text = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {len(body)}"
            sock.sendall(text.encode() + b"\r\n\r\n" + body)


def body_of(path: str) -> bytes:
    """The body of a path: small, or of up to 1 MiB."""
    number = int(path[1:])
    size = 1000 if number % 2 else 20_000 * number
    unit = blake2b(path.encode(), digest_size=50).digest()
    return unit * (size // 50)


def kill_a_worker(pid: int, random: Random) -> bool:
    """Kill one of the worker processes of a master; return whether one was running."""
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    random.shuffle(workers)
    for one in workers:
        with suppress(OSError):  # the master has just learnt that it is dead
            if Path(f"/proc/{one}/cmdline").read_bytes():  # it is not dead already
                os.kill(int(one), signal.SIGKILL)
                return True
    return False
