"""Keys, quotas and origins of a CORS proxy under load, with two workers and ``kill -9``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("ada_url")

from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.cors.quota import Quota
from lbproxy.limits.rate import Rate
from lbproxy.proxy.features.corsproxy.keyusage import usage_of
from tests.support.lb_process import LBProcess
from tests.support.ports import free_ports
from tests.support.process import accepts, until

pytestmark = [pytest.mark.live, pytest.mark.long]

PUBLIC = "127.95.1.1"
KEYS = 60
CONNECTIONS = 300
REQUESTS = 15_000
QUOTA = 120
ORIGINS = [f"https://app{number}.example.com" for number in range(5)]
TEXT = """
[lbproxy]
guard_public = 127.95.1.0/24
workers = 2
[frontend cors]
mode = corsproxy
listen = tcp:{port}:interface=127.0.0.1
guard_ports = {target}
keys = {keys}
origins = {origins}
origin_requests = {of_origin}/1h
"""


def records() -> list[KeyRecord]:
    """Keys with a quota of calls, and a few with none."""
    found = []
    for number in range(KEYS):
        quota = Quota() if number % 10 == 0 else Quota(Rate(QUOTA, 3600, QUOTA))
        found.append(KeyRecord(f"k{number}", hashed(f"key-number-{number}"), quota=quota))
    return found


class Load:
    """Calls over many connections.  ``found``: calls by key, Origin and status."""

    def __init__(self, port: int, target: int) -> None:
        self.found: Counter[tuple[int, str, int]] = Counter()
        self.started = 0
        self.half = asyncio.Event()
        self._port = port
        self._target = target

    async def run(self, requests: int) -> None:
        """Make calls until ``requests`` have been started."""
        server = await asyncio.start_server(_serve, PUBLIC, self._target)
        last = requests
        async with server:
            await asyncio.gather(*(self._calls(last) for _ in range(CONNECTIONS)))

    async def _calls(self, last: int) -> None:
        while self.started < last:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    while self.started < last:
                        await self._call(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(0.01)

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.started
        self.started += 1
        if self.started == REQUESTS // 2:
            self.half.set()
        key, origin = number % KEYS, ORIGINS[number % 7] if number % 7 < len(ORIGINS) else ""
        lines = [
            f"GET /?url=http%3A%2F%2F{PUBLIC}%3A{self._target}%2F HTTP/1.1",
            "Host: proxy",
            f"X-Api-Key: key-number-{key}",
            *([f"Origin: {origin}"] if origin else []),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        await reader.readexactly(size)
        self.found[key, origin, int(head.split()[1])] += 1

    def count(self, status: int, *, key: int = -1, origin: str = "") -> int:
        """Return the calls with a status, of a key or an Origin."""
        return sum(
            number
            for (one, page, found), number in self.found.items()
            if found == status and key in (-1, one) and origin in ("", page)
        )


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request."""
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    writer.close()


def kill(process: LBProcess) -> None:
    """End the master and its workers by SIGKILL."""
    pid = process.child.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


@pytest.fixture
def running() -> Iterator[list[LBProcess]]:
    found: list[LBProcess] = []
    yield found
    for one in found:
        one.stop()


@pytest.mark.parametrize("killed", [False, True])
def test_quotas_of_many_keys(tmp_path: Path, running: list[LBProcess], killed: bool) -> None:
    port, target = free_ports(2)
    keys = tmp_path / "keys.json"
    keys.write_text(KeyRing(records()).dump())
    of_origin = 900
    text = TEXT.format(
        port=port, target=target, keys=keys, origins=" ".join(ORIGINS), of_origin=of_origin
    )
    running.append(LBProcess(text, tmp_path / "lb", forked=True))
    load = Load(port, target)

    async def through_a_kill() -> None:
        calls = asyncio.create_task(load.run(REQUESTS))
        await load.half.wait()
        kill(running[-1])
        await asyncio.to_thread(until, lambda: not accepts(port))
        await asyncio.to_thread(running.append, LBProcess(text, tmp_path / "lb", forked=True))
        await calls

    asyncio.run(through_a_kill() if killed else load.run(REQUESTS))
    usage = {one["name"]: one for one in usage_of(records(), f"{keys}.usage", time.time())}
    lost = load.started - sum(load.found.values())  # in flight when the processes were killed
    assert lost == 0 if not killed else lost <= 2 * CONNECTIONS
    assert {status for _, _, status in load.found} == {200, 429}
    missed = 0  # a process that loses its core while it counts may cost a count
    for number in range(KEYS):
        served = load.count(200, key=number)
        counted = usage[f"k{number}"]["requests"]
        missed += max(0, served - counted)
        assert served - 2 <= counted <= served + lost, (number, served, counted)
        if number % 10:
            assert served <= QUOTA + 2, (number, served)
            assert served >= QUOTA - lost, (number, served)
            assert load.count(429, key=number) > 0
    assert missed <= REQUESTS // 1000, missed
    for origin in ORIGINS:
        served = load.count(200, origin=origin)
        assert of_origin * 0.95 - lost <= served <= of_origin * 1.01, json.dumps([origin, served])
