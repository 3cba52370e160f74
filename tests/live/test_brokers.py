"""Message brokers that stop, hang and come back, behind the configurations that their
pages show.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nats
import paho.mqtt.client as mqtt
import pika
import pytest

from tests.docs.pages import DOCS, blocks
from tests.support.brokers import Mosquitto, Nats, RabbitMQ
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-brokers")]

PASSWORD = "s3cret"


def from_page(page: str, folder: Path, listen: int, servers: dict[str, str]) -> str:
    """The page's first configuration with real addresses (servers it has and we have not are left
    out) and short intervals; its password file is written.
    """
    text = blocks(DOCS / page, "ini")[0].text
    text = re.sub(r"listen = tcp:\d+", f"listen = tcp:{listen}:interface=127.0.0.1", text)
    text, intervals = re.subn(r"every=\w+( timeout=\w+)?", "every=200ms timeout=1s fall=2", text)
    assert intervals == 1
    for name, address in re.findall(r"^ +(\w+) (10\.\S+)$", text, re.MULTILINE):
        if name in servers:
            text = text.replace(f"{name} {address}", f"{name} {servers[name]}")
        else:
            text = text.replace(f"    {name} {address}\n", "")
    assert "10.0" not in text
    (folder / "secrets").mkdir(parents=True, exist_ok=True)
    (folder / "secrets" / "lb").write_text(f"{PASSWORD}\n")
    return text.replace("secrets/lb", str(folder / "secrets" / "lb"))


# -- RabbitMQ --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rabbits(live_folder):
    """Two nodes that know nothing of one another."""
    binary = RabbitMQ.find() or program("rabbitmq-server")
    users = {"guest": "guest", "lbproxy": PASSWORD}
    pair = [RabbitMQ(binary, live_folder / f"rabbit-{name}", users) for name in "ab"]
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(RabbitMQ.start, pair))
        yield pair
    finally:
        for node in pair:
            node.end()


class Publisher:
    """Publishes numbers with confirms; connects again when it has to, and publishes again what was
    not confirmed.
    """

    QUEUE = "numbers"

    def __init__(self, port):
        self.confirmed = set()
        self.connections = 0
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join(60)

    def more(self, count=100):
        goal = len(self.confirmed) + count
        assert until(lambda: len(self.confirmed) >= goal or not self._thread.is_alive(), 60)
        assert self._thread.is_alive()

    def _run(self):
        number = 0
        while not self._over.is_set():
            try:
                with pika.BlockingConnection(_parameters(self._port)) as connection:
                    self.connections += 1
                    channel = connection.channel()
                    channel.queue_declare(self.QUEUE, durable=True)
                    channel.confirm_delivery()
                    while not self._over.is_set():
                        kept = pika.BasicProperties(delivery_mode=2)
                        channel.basic_publish("", self.QUEUE, b"%d" % number, kept)
                        self.confirmed.add(number)
                        number += 1
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.1)


def _parameters(port):
    login = pika.PlainCredentials("guest", "guest")
    return pika.ConnectionParameters(
        "127.0.0.1", port, credentials=login, heartbeat=0, socket_timeout=60,
        blocked_connection_timeout=60, stack_timeout=60,
    )  # fmt: skip


def consume(port):
    """All numbers in a node's queue."""
    found = []
    with pika.BlockingConnection(_parameters(port)) as connection:
        channel = connection.channel()
        channel.queue_declare(Publisher.QUEUE, durable=True)
        while True:
            method, _, body = channel.basic_get(Publisher.QUEUE, auto_ack=True)
            if method is None:
                return found
            found.append(int(body))


@pytest.mark.parametrize("transport", ["epoll"])
def test_rabbitmq_keeps_what_it_has_confirmed(balancer, rabbits, tmp_path):
    a, b = rabbits
    port = free_port()
    servers = {"rabbit1": a.address, "rabbit2": b.address}
    text = from_page("rabbitmq.rst", tmp_path, port, servers)
    lb = balancer(text.replace("balance = leastconn", "balance = first"))
    with Publisher(port) as publisher:
        publisher.more()
        a.stop()  # in good order: clients get connection.close
        publisher.more()
        lb.wait_output("server rabbitmq/rabbit1 is down")
        a.start()
        lb.wait_output("server rabbitmq/rabbit1 is up")
        b.kill()  # the publisher is there now
        publisher.more()
        b.start()
        lb.wait_output("server rabbitmq/rabbit2 is up")
        a.pause()  # hangs: lbproxy closes the sessions
        lb.wait_output("server rabbitmq/rabbit1 is down: no answer in 1 s")
        publisher.more()
        a.resume()
        lb.wait_output("server rabbitmq/rabbit1 is up", 2)
    kept = consume(a.port) + consume(b.port)
    assert publisher.connections >= 4
    assert publisher.confirmed <= set(kept), "confirmed, and gone"
    assert len(kept) <= len(publisher.confirmed) + publisher.connections, (
        "twice only what was in doubt"
    )


@pytest.mark.parametrize("transport", ["epoll"])
def test_rabbitmq_checks(balancer, rabbits):
    """Logins that are refused, and the alarm that only publishers notice."""
    node = rabbits[1]
    check = "every=200ms timeout=5s fall=2"
    text = (
        f"[frontend f]\nmode = tcp\nlisten = tcp:{free_port()}:interface=127.0.0.1\n"
        "backend = good\n"
    )
    backends = {
        "good": "amqp",
        "publishing": "amqp publish",
        "stranger": "amqp user=nobody password=x",
        "lost": "amqp vhost=nowhere",
    }
    for name, words in backends.items():
        text += (
            f"[backend {name}]\nmode = tcp\nservers = a {node.address}\ncheck = {words} {check}\n"
        )
    lb = balancer(text)
    lb.wait_output("server stranger/a is down: closed with 403 ACCESS_REFUSED")
    lb.wait_output("server lost/a is down: closed with 530 NOT_ALLOWED")
    node.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        lb.wait_output(
            "server publishing/a is down: publishers are blocked: low on memory", timeout=60
        )
    finally:
        node.control("set_vm_memory_high_watermark", "absolute", "2GB")
    lb.wait_output("server publishing/a is up")
    assert "server good/a is down" not in lb.output()


# -- MQTT ------------------------------------------------------------------------------------------


@pytest.fixture
def mosquittos(live_folder, tmp_path):
    """Two brokers, with users."""
    binary = program("mosquitto")
    users = {"lbproxy": PASSWORD, "thing": "thing"}
    pair = [Mosquitto(binary, live_folder / f"mosquitto-{tmp_path.name}-{n}", users) for n in "ab"]
    for broker in pair:
        broker.start()
    yield pair
    for broker in pair:
        broker.stop()


class Thing:
    """Subscribes, and publishes to itself; paho connects it again."""

    def __init__(self, port, version):
        self.got = []
        self.connections = 0
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=version)
        self.client.username_pw_set("thing", "thing")
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._connected
        self.client.on_message = lambda client, userdata, message: self.got.append(message.payload)
        self.client.connect_async("127.0.0.1", port, keepalive=60)
        self.client.loop_start()

    def _connected(self, client, *_):
        self.connections += 1
        client.subscribe("things/#", qos=1)

    def tell(self, text):
        """Publish until it is back: what is sent before the subscription is, nobody gets."""

        def arrived():
            if text not in self.got and self.client.is_connected():
                with contextlib.suppress(RuntimeError):  # the connection has ended meanwhile
                    self.client.publish("things/1", text, qos=1).wait_for_publish(1)
            return text in self.got

        assert until(arrived), f"{text} never came back"

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize(
    ("transport", "version"),
    [("epoll", mqtt.MQTTv5), ("twisted", mqtt.MQTTv311)],
    ids=["5", "3.1.1"],
)
def test_mqtt_clients_go_to_the_standby(balancer, mosquittos, tmp_path, version):
    main, standby = mosquittos
    port = free_port()
    servers = {"main": main.address, "standby": standby.address}
    text = from_page("mqtt.rst", tmp_path, port, servers)
    lb = balancer(
        text.replace(
            "check = mqtt", f"check = mqtt version={'5' if version == mqtt.MQTTv5 else '3.1.1'}"
        )
    )
    thing = Thing(port, version)
    try:
        thing.tell(b"one")
        main.kill()
        thing.tell(b"two")
        lb.wait_output("server mosquitto/main is down")
        main.start()
        lb.wait_output("server mosquitto/main is up")
        standby.child.send_signal(signal.SIGSTOP)  # hangs
        thing.tell(b"three")
        lb.wait_output("server mosquitto/standby is down: no answer in 1 s")
    finally:
        thing.close()
    assert thing.connections >= 3


def test_mqtt_checks(balancer, mosquittos):
    broker = mosquittos[0]
    backends = {
        "good": f"mqtt user=lbproxy password={PASSWORD}",
        "five": f"mqtt version=5 user=lbproxy password={PASSWORD}",
        "nobody": "mqtt",
        "nobody5": "mqtt version=5",
    }
    text = (
        f"[frontend f]\nmode = tcp\nlisten = tcp:{free_port()}:interface=127.0.0.1\n"
        "backend = good\n"
    )
    for name, words in backends.items():
        text += (
            f"[backend {name}]\nmode = tcp\nservers = a {broker.address}\n"
            f"check = {words} every=200ms timeout=5s\n"
        )
    lb = balancer(text)
    lb.wait_output("server nobody/a is down: refused: not authorised")
    lb.wait_output("server nobody5/a is down: refused: not authorised")
    assert "server good/a is down" not in lb.output() and "server five/a is down" not in lb.output()


# -- NATS ------------------------------------------------------------------------------------------


@pytest.fixture
def nats_servers(live_folder, tmp_path):
    """Two servers, with users."""
    binary = program("nats-server")
    users = (
        f'authorization {{ users = [{{user: lbproxy, password: "{PASSWORD}"}}, {{user: c, '
        f'password: "c"}}] }}'
    )
    pair = [Nats(binary, live_folder / f"nats-{tmp_path.name}-{n}", users) for n in "ab"]
    for server in pair:
        server.start()
    yield pair
    for server in pair:
        server.stop()


async def _echo(client, text):
    """A request to oneself, repeated until it is answered."""
    for _ in range(200):
        try:
            answer = await client.request("echo", text, timeout=1)
        except (TimeoutError, nats.errors.Error):
            await asyncio.sleep(0.1)
        else:
            assert answer.data == text
            return
    raise AssertionError(f"{text} was never answered")


def test_nats_clients_go_to_the_other_server(balancer, nats_servers, tmp_path):
    one, two = nats_servers
    port = free_port()
    text = from_page("nats.rst", tmp_path, port, {"n1": one.address, "n2": two.address})
    lb = balancer(text.replace("balance = leastconn", "balance = first"))

    async def scenario():
        async def answer(message):
            await message.respond(message.data)

        async def ignore(error):
            pass

        client = await nats.connect(
            f"nats://127.0.0.1:{port}", user="c", password="c", max_reconnect_attempts=-1,
            reconnect_time_wait=0.1, ping_interval=60, error_cb=ignore,
        )  # fmt: skip
        await client.subscribe("echo", cb=answer)
        await _echo(client, b"one")
        one.kill()
        await _echo(client, b"two")
        await asyncio.to_thread(lb.wait_output, "server nats/n1 is down", timeout=60)
        await asyncio.to_thread(one.start)
        await asyncio.to_thread(lb.wait_output, "server nats/n1 is up", timeout=60)
        two.child.send_signal(signal.SIGSTOP)  # hangs, and the client is there now
        await asyncio.to_thread(lb.wait_output, "server nats/n2 is down: no answer", timeout=60)
        await _echo(client, b"three")
        assert client.stats["reconnects"] == 2
        await client.close()

    asyncio.run(scenario())


def test_a_lame_duck_gets_no_new_clients(balancer, nats_servers, tmp_path):
    """And keeps those it has, with on_down = keep: it sends them away itself."""
    one, two = nats_servers
    port = free_port()
    text = from_page("nats.rst", tmp_path, port, {"n1": one.address, "n2": two.address})
    text = text.replace("balance = leastconn", "balance = first")
    lb = balancer(text.replace("on_down = close", "on_down = keep"))

    async def scenario():
        async def connect():
            return await nats.connect(
                f"nats://127.0.0.1:{port}", user="c", password="c", allow_reconnect=False
            )

        first = await connect()
        os.kill(one.child.pid, signal.SIGUSR2)
        await asyncio.to_thread(lb.wait_output, "server nats/n1 is down", timeout=60)
        for client in (await connect(), await connect()):
            await client.flush(30)
            await client.close()
        await first.flush(30)
        await first.close()

    asyncio.run(scenario())
    assert len(lb.wait_records(2, server="n2")) == 2


def test_nats_checks(balancer, nats_servers):
    server = nats_servers[0]
    backends = {
        "good": f"nats user=lbproxy password={PASSWORD}",
        "nobody": "nats",
        "secure": f"nats tls verify=no user=lbproxy password={PASSWORD}",
    }
    text = (
        f"[frontend f]\nmode = tcp\nlisten = tcp:{free_port()}:interface=127.0.0.1\n"
        "backend = good\n"
    )
    for name, words in backends.items():
        text += (
            f"[backend {name}]\nmode = tcp\nservers = a {server.address}\n"
            f"check = {words} every=200ms timeout=5s\n"
        )
    lb = balancer(text)
    lb.wait_output("server nobody/a is down: Authorization Violation")
    lb.wait_output("server secure/a is down: offers no TLS")
    assert "server good/a is down" not in lb.output()
