"""Scale-out with real clients:

WebSockets, MQTT 5 and a pool of PostgreSQL sessions move to the server that came.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from click.testing import CliRunner

from lbproxy.cli import main
from tests.support.brokers import Mosquitto
from tests.support.databases import Postgres
from tests.support.ports import free_ports
from tests.support.process import until
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-rebalancing")]

CLIENTS = 12
SCRAPE = re.compile(r'lbproxy_backend_rebalanced_total\{backend="app"\} (\d+)')


@pytest.fixture
def transport() -> str:
    """Which one moves the bytes makes no difference here."""
    return "epoll"


def ask(admin: int, method: str, path: str, body: Any = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{admin}{path}", data, method=method)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as response:
        return bytes(response.read())


class Scene:
    """lbproxy before one server; another one comes later."""

    def __init__(
        self, balancer: Any, mode: str, rule: str, address: str, *, workers: int = 1
    ) -> None:
        self.port, self.admin = free_ports(2)
        self.lb = balancer(
            f"[frontend app]\nmode = {mode}\nlisten = tcp:{self.port}:interface=127.0.0.1\n"
            f"backend = app\n[backend app]\nbalance = leastconn\nrebalance = {rule}\n"
            f"servers = a {address}\n",
            settings=f"workers = {workers}\nadmin = tcp:{self.admin}:interface=127.0.0.1",
        )
        if workers > 1:
            self.lb.wait_output(" serves (pid", workers, timeout=60)

    def add(self, address: str) -> None:
        ask(self.admin, "POST", "/api/v1/backends/app/servers", {"server": f"b {address}"})

    def active(self) -> dict[str, int]:
        found = json.loads(ask(self.admin, "GET", "/api/v1/servers?backend=app"))
        return {one["name"]: one["active"] for one in found["items"]}

    def moved(self) -> int:
        found = SCRAPE.search(ask(self.admin, "GET", "/metrics").decode())
        assert found is not None
        return int(found[1])

    def settles(self) -> None:
        """Half of them here, half of them there; and nothing more is moved."""
        half = {"a": CLIENTS // 2, "b": CLIENTS // 2}
        assert until(lambda: self.active() == half, 60), self.active()
        assert self.moved() == CLIENTS // 2
        time.sleep(1.5)
        assert (self.active(), self.moved()) == (half, CLIENTS // 2)
        assert len(self.lb.wait_records(CLIENTS // 2, close="rebalanced")) == CLIENTS // 2


# -- WebSocket -------------------------------------------------------------------------------------


@pytest.fixture
def talkers() -> Iterator[list[str]]:
    """Two WebSocket servers that send a message in two frames now and then, and echo."""
    from websockets.sync.server import serve

    def talk(sock: Any) -> None:
        with suppress(Exception):
            while True:
                try:
                    sock.send(f"echo {sock.recv(timeout=0.4)}")
                except TimeoutError:
                    sock.send(iter(("half ", "and half")))

    servers = [serve(talk, "127.0.0.1", 0) for _ in range(2)]
    threads = [threading.Thread(target=one.serve_forever, daemon=True) for one in servers]
    for thread in threads:
        thread.start()
    yield ["{}:{}".format(*one.socket.getsockname()) for one in servers]
    for one in servers:
        one.shutdown()
    for thread in threads:
        thread.join(10)


class Browser:
    """Connects, says hello, reads whole messages, and connects again when it is told 1012."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.codes: list[int] = []
        self.odd: list[str] = []
        self.echoed = 0
        self.over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        while not self.over:
            with connect(f"ws://127.0.0.1:{self.port}/", open_timeout=60) as sock:
                sock.send("hello")
                while not self.over:
                    try:
                        message = str(sock.recv(timeout=0.1))
                    except TimeoutError:
                        continue
                    except ConnectionClosed as closed:
                        self.codes.append(closed.rcvd.code if closed.rcvd is not None else 0)
                        break
                    if message == "echo hello":
                        self.echoed += 1
                    elif message != "half and half":
                        self.odd.append(message)


def test_websockets(balancer: Any, talkers: list[str]) -> None:
    scene = Scene(balancer, "http", "websocket rate=10/s idle=100ms after=2s", talkers[0])
    browsers = [Browser(scene.port) for _ in range(CLIENTS)]
    try:
        assert until(lambda: all(one.echoed for one in browsers))
        scene.add(talkers[1])
        scene.settles()
        greeted = CLIENTS + CLIENTS // 2  # once more by everybody who moved
        assert until(lambda: sum(one.echoed for one in browsers) >= greeted)
    finally:
        for one in browsers:
            one.over = True
        for one in browsers:
            one.thread.join(20)
    codes = [code for one in browsers for code in one.codes]
    assert codes == [1012] * (CLIENTS // 2)
    assert [one.odd for one in browsers] == [[]] * CLIENTS
    assert sum(one.echoed for one in browsers) == greeted


def test_websockets_of_workers_when_asked(balancer: Any, talkers: list[str]) -> None:
    """Each worker moves half of its own; where their clients come back to is the kernel's
    choice.
    """
    rule = "websocket rate=10/s idle=100ms after=1h"
    scene = Scene(balancer, "http", rule, talkers[0], workers=2)
    browsers = [Browser(scene.port) for _ in range(CLIENTS)]
    try:
        assert until(lambda: all(one.echoed for one in browsers))
        assert until(lambda: scene.active() == {"a": CLIENTS})
        scene.add(talkers[1])
        command = ["rebalance", "app", "--admin", f"127.0.0.1:{scene.admin}"]
        told = CliRunner().invoke(main, command).output
        found = re.fullmatch(r"app/a: (\d) sessions? to move\n", told)
        assert found is not None and 0 < int(found[1]) <= CLIENTS // 2, told
        # three are the least: five of twelve moved, and all came back to the same worker
        assert until(lambda: sum(scene.active().values()) == CLIENTS and scene.active()["b"] >= 3)
    finally:
        for one in browsers:
            one.over = True
        for one in browsers:
            one.thread.join(20)
    codes = [code for one in browsers for code in one.codes]
    assert codes == [1012] * len(codes)
    assert 3 < len(codes) < CLIENTS
    assert [one.odd for one in browsers] == [[]] * CLIENTS


# -- MQTT 5 ----------------------------------------------------------------------------------------


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[list[Mosquitto]]:
    made = [Mosquitto(program("mosquitto"), tmp_path / f"broker-{name}") for name in "ab"]
    for one in made:
        one.start()
    yield made
    for one in made:
        one.stop()


def test_mqtt_5(balancer: Any, brokers: list[Mosquitto]) -> None:
    # clients come back after a second: those who were moved are back before more would be
    scene = Scene(balancer, "tcp", "mqtt rate=10/s idle=200ms after=3s", brokers[0].address)
    reasons: list[int] = []
    clients = []
    for number in range(CLIENTS):
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, f"c{number}", protocol=mqtt.MQTTv5
        )  # fmt: skip
        client.reconnect_delay_set(1, 1)
        client.on_disconnect = lambda c, u, flags, reason, p: (
            reasons.append(reason.value) if flags.is_disconnect_packet_from_server else None
        )
        client.connect("127.0.0.1", scene.port, keepalive=60)
        client.loop_start()
        clients.append(client)
    try:
        assert until(lambda: all(client.is_connected() for client in clients))
        scene.add(brokers[1].address)
        scene.settles()
        assert until(lambda: all(client.is_connected() for client in clients))
    finally:
        for client in clients:
            client.disconnect()
            client.loop_stop()
    assert reasons == [0x9C] * (CLIENTS // 2)


# -- PostgreSQL ------------------------------------------------------------------------------------


@pytest.fixture
def databases(live_folder: Path) -> Iterator[list[Postgres]]:
    binaries = Path(program("initdb")).resolve().parent
    made = [Postgres(binaries, live_folder / f"rebalanced-{name}").start() for name in "ab"]
    yield made
    for one in made:
        one.stop()


class Pool:
    """Idle sessions that are asked now and then, and made anew when they are gone."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.lost: list[bytes] = []
        self.sessions = [self.connect() for _ in range(CLIENTS)]

    def connect(self) -> Any:
        import pg8000.native

        return pg8000.native.Connection("postgres", "127.0.0.1", port=self.port)

    def look(self) -> bool:
        """As a pool does that tests a session before it lends it out."""
        for place, session in enumerate(self.sessions):
            with suppress(BlockingIOError):
                said = session._usock.recv(1000, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                self.lost.append(said)
                with suppress(Exception):
                    session.close()
                self.sessions[place] = self.connect()
            assert self.sessions[place].run("select 1") == [[1]]
        return True


def test_postgresql(balancer: Any, databases: list[Postgres]) -> None:
    # clients look every 0.7 s: the second look comes when those who were moved are back
    rule = "postgresql rate=10/s idle=200ms after=3s"
    scene = Scene(balancer, "tcp", rule, databases[0].address)
    pool = Pool(scene.port)
    busy = pool.sessions[0]
    busy.run("begin")
    half = {"a": CLIENTS // 2, "b": CLIENTS // 2}
    scene.add(databases[1].address)

    def balanced() -> bool:
        pool.look()
        time.sleep(0.7)
        return scene.active() == half

    assert until(balanced, 60), scene.active()
    scene.settles()
    assert pool.sessions[0] is busy, "it was in a transaction"
    busy.run("commit")
    pool.look()
    assert len(pool.lost) == CLIENTS // 2
    assert all(b"C57P01\0" in words for words in pool.lost), pool.lost
    for session in pool.sessions:
        session.close()
    for database in databases:
        log = database.folder.with_name(f"{database.folder.name}.log").read_text()
        assert "unexpected EOF on client connection" not in log
