"""Redis: the master moves, by hand and by Sentinel, while clients write through lbproxy."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.clients import connect, is_closed
from tests.live.writers import Writers
from tests.support.databases import Redis, Sentinel
from tests.support.ports import free_ports
from tests.support.process import until
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-failover-databases")]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "redis.ini"


@pytest.fixture
def transport() -> str:
    """Which one moves the bytes makes no difference here."""
    return "epoll"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[..., Redis]]:
    """Make servers: ``servers(*options)``."""
    made: list[Redis] = []

    def make(*options: str) -> Redis:
        folder = tmp_path / f"redis-{len(made)}"
        made.append(Redis(program("redis-server"), folder, options=options))
        return made[-1].start()

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def pair(servers: Callable[..., Redis]) -> tuple[Redis, Redis]:
    """A master and its replica, in step."""
    master = servers()
    replica = servers("--replicaof", "127.0.0.1", str(master.port))
    assert until(lambda: "link_status:up" in replica.command("info", "replication"))
    return master, replica


class Client:
    """SET, one at a time."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        self.sock.settimeout(60)

    def ask(self, line: str) -> str:
        self.sock.sendall(line.encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            data = self.sock.recv(1000)
            if not data:
                raise ConnectionError("closed")
            answer += data
        return answer.decode().strip()

    def close(self) -> None:
        self.sock.close()


def insert(client: Client, writer: int, number: int) -> None:
    """Raises unless it was acknowledged: a replica says READONLY."""
    answer = client.ask(f"SET w{writer}-{number} x")
    if answer != "+OK":
        raise ValueError(answer)


def text(port: int, check: str, *servers: Redis) -> str:
    lines = "".join(f"    r{n} {one.address}\n" for n, one in enumerate(servers, 1))
    return (
        f"[frontend redis]\nmode = tcp\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = redis\n"
        f"[backend redis]\nbalance = first\n{check}\non_down = close\nno_server = queue\n"
        f"timeout_queue = 30s\nretries = 8\nservers =\n{lines}"
    )


def test_the_master_moves_by_hand(
    balancer: Any, pair: tuple[Redis, Redis], record_property: Any
) -> None:
    one, two = pair
    (port,) = free_ports(1)
    lb = balancer(text(port, "check = redis role=master every=500ms timeout=2s fall=2", one, two))
    lb.wait_output("server redis/r2 is down: it is a replica of 127.0.0.1:")
    with Writers(lambda: Client(port), insert) as writers:
        writers.more(500)
        with connect(port) as idle:
            idle.sendall(b"PING\r\n")
            assert idle.recv(100) == b"+PONG\r\n"
            moved = time.monotonic()
            one.command("failover", "to", "127.0.0.1", str(two.port))
            assert until(lambda: "role:master" in two.command("info", "replication"))
            assert is_closed(idle), "a session on the old master is closed"
            closed = time.monotonic() - moved
        lb.wait_output("server redis/r2 is up: master")
        writers.more(500)
    assert lb.output().count("server redis/r1 is down: it is a replica of") == 1
    print(f"sessions closed {closed:.2f} s after, {writers.gap():.2f} s without writes")
    record_property("without writes", round(writers.gap(), 2))
    # FAILOVER waits for the replica: nothing that was acknowledged is lost
    assert not missing(two, writers.acknowledged)


def missing(server: Redis, keys: Iterable[tuple[int, int]]) -> list[str]:
    """Those that the server does not have."""
    client = Client(server.port)
    names = [f"w{writer}-{number}" for writer, number in keys]
    found = [name for name in names if client.ask(f"EXISTS {name}") != ":1"]
    client.close()
    return found


@pytest.fixture
def sentinels(tmp_path: Path, pair: tuple[Redis, Redis]) -> Iterator[list[Sentinel]]:
    """Three that agree and know the replica."""
    binary = program("redis-sentinel")
    made = [Sentinel(binary, tmp_path / f"sentinel-{n}", pair[0]) for n in range(3)]

    def ready(one: Sentinel) -> bool:
        lines = Client(one.port)
        lines.sock.sendall(b"SENTINEL MASTER main\r\n")
        answer = lines.sock.recv(4096).decode().split("\r\n")
        lines.close()
        fields = dict(zip(answer[2::4], answer[4::4], strict=False))
        return fields.get("num-slaves") == "1" and fields.get("num-other-sentinels") == "2"

    assert until(lambda: all(ready(one) for one in made), 60)
    yield made
    for one in made:
        one.stop()


def test_sentinel_replaces_a_master_that_hangs(
    balancer: Any, pair: tuple[Redis, Redis], sentinels: list[Sentinel], record_property: Any
) -> None:
    """``docs/examples/redis.ini``; the old master wakes up as one, and is not believed."""
    one, two = pair
    write, read = free_ports(2)
    config = EXAMPLE.read_text()
    for old, new in (
        ("tcp:6379:", f"tcp:{write}:"),
        ("tcp:6380:", f"tcp:{read}:"),
        ("10.0.0.31:6379", one.address),
        ("10.0.0.32:6379", two.address),
        *((f"10.0.0.4{n}:26379", sentinel.address) for n, sentinel in enumerate(sentinels, 1)),
    ):
        assert old in config
        config = config.replace(old, new)
    lb = balancer(config)
    lb.wait_output("server master/r1 is up: master (1 check passed)")
    lb.wait_output("server master/r2 is down: it is a replica of")
    lb.wait_output("server replicas/r1 is down: it is a master")
    with Writers(lambda: Client(write), insert) as writers:
        writers.more(500)
        one.child.send_signal(signal.SIGSTOP)
        lb.wait_output("server master/r1 is down: no answer in 0.9 s")
        lb.wait_output("server master/r2 is up: master", timeout=60)
        taken = time.monotonic()
        writers.more(500)
        seen = len(lb.records())
        one.child.send_signal(signal.SIGCONT)
        assert until(lambda: "role:slave" in one.command("info", "replication"), 60)
        writers.more(500)
    record_property("without writes", round(writers.gap(), 2))
    print(f"{writers.gap():.2f} s without writes")
    assert lb.output().count("server master/r1 is up") == 1
    records = [r for r in lb.records()[seen:] if r["backend"] == "master" and r["server"]]
    assert {r["server"] for r in records} <= {"r2"}
    # what the new master has acknowledged is there; Redis promises nothing about the old one's last
    # moments
    later = [key for key, (when, _) in writers.acknowledged.items() if when > taken]
    assert len(later) > 100
    assert not missing(two, later)


def test_an_old_master_that_sentinel_has_replaced(
    balancer: Any, pair: tuple[Redis, Redis], sentinels: list[Sentinel]
) -> None:
    """A third server says that it is a master; the sentinels name another one."""
    one, two = pair
    (port,) = free_ports(1)
    addresses = ",".join(sentinel.address for sentinel in sentinels)
    two.command("replicaof", "no", "one")  # until Sentinel puts it back
    check = f"check = redis sentinel={addresses} master=main every=200ms timeout=2s fall=2"
    lb = balancer(text(port, check, two, one))
    lb.wait_output("server redis/r1 is down: ")
    with connect(port) as sock:
        sock.sendall(b"CONFIG GET port\r\n")
        assert str(one.port).encode() in sock.recv(1000)
    assert re.search(
        r"server redis/r1 is down: (not the sentinels' master, which is|it is a replica)",
        lb.output(),
    )
    for sentinel in sentinels[:2]:
        sentinel.child.send_signal(signal.SIGKILL)
        sentinel.child.process.wait(60)
    lb.wait_output("server redis/r2 is down: fewer than 2 of 3 sentinels agree on a master")
