"""The master in this process; its workers are sockets that the test reads when it wants to."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lbproxy.net.stock import StockNetwork
from lbproxy.process import replication
from lbproxy.registry import parse_config
from lbproxy.workers import channel, replicated, supervisor
from lbproxy.workers.master import Master
from tests.support.descriptors import descriptors, settled_descriptors
from tests.support.ports import free_ports
from tests.workers.test_worker import Reactor


class FakeWorker:
    """What the master takes for a process.  ``heard``: what it was told since the last look."""

    def __init__(self, command: list[str], **options: Any) -> None:
        self.pid = 1000
        self.sock = socket.socket(fileno=os.dup(int(command[-1])))
        self.sock.setblocking(False)
        self.status: int | None = None
        self.killed = 0
        self.signals: list[int] = []
        self.given: list[socket.socket] = []  # listening sockets
        self.heard: list[dict[str, Any]] = []

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.killed += 1
        self.end(-signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def end(self, status: int) -> None:
        self.status = status
        self.close()

    def close(self) -> None:
        self.sock.close()
        for one in self.given:
            one.close()

    def say(self, kind: str, **more: Any) -> None:
        self.sock.sendall(json.dumps({"type": kind, **more, "fds": 0}).encode() + b"\n")

    def publish(self, message: dict[str, Any]) -> None:
        arguments = {"topic": replication.TOPIC, "message": message}
        self.say("replicated", operation="publish", arguments=arguments, number=0)

    def ready(self) -> None:
        """If it was asked to serve something."""
        if any(one["type"] in ("begin", "reload") for one in self.heard):
            self.say("ready")
        self.heard.clear()


class Scene:
    """A master with two workers."""

    def __init__(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor = Reactor()
        self.processes: list[FakeWorker] = []
        self.trouble: list[OSError] = []
        monkeypatch.setattr(subprocess, "Popen", self._spawn)
        self.master = Master(
            parse_config(text), reactor=self.reactor, network=StockNetwork(self.reactor)
        )
        self.master.privilegedStartService()
        self.master.startService()

    def _spawn(self, command: list[str], **options: Any) -> FakeWorker:
        if self.trouble:
            raise self.trouble.pop()
        self.processes.append(FakeWorker(command, **options))
        return self.processes[-1]

    @property
    def live(self) -> list[FakeWorker]:
        return [one for one in self.processes if one.status is None]

    def read(self, worker: FakeWorker) -> list[dict[str, Any]]:
        """All there is for it now, while the master writes on."""
        data = b""
        while True:
            for one in self.master.workers:
                if one.channel is not None:
                    one.channel.doWrite()
            try:
                part, fds, _, _ = socket.recv_fds(worker.sock, 1 << 20, 16)
            except BlockingIOError:
                break
            if not part:
                break
            data += part
            for fd in fds:
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    worker.given.append(socket.socket(fileno=fd))
                else:
                    os.close(fd)  # a board
        found = [json.loads(line) for line in data.splitlines()]
        worker.heard += found
        return found

    def serve(self) -> None:
        """All workers do as they are told."""
        for one in self.live:
            self.read(one)
            one.ready()
        self.hear()

    def hear(self) -> None:
        for reader in list(self.reactor.readers):
            reader.doRead()

    def close(self) -> None:
        self.master.stopService()
        for one in self.live:
            one.end(0)
        self.hear()
        self.reactor.advance(0.1)
        self.reactor.advance(1)


def web(*listen: str, more: str = "") -> str:
    lines = "".join(f"    {one}\n" for one in listen)
    return (
        f"[lbproxy]\nworkers = 2\ntransport = twisted\n{more}[frontend web]\nlisten =\n{lines}"
        "backend = app\n[backend app]\nsticky = header X\nservers = a 10.0.0.1:80\n"
    )


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: list[Scene] = []

    def make(text: str) -> Scene:
        made.append(Scene(text, monkeypatch))
        return made[-1]

    yield make
    for one in made:
        one.close()
        assert not one.reactor.getDelayedCalls()


def held(port: int) -> str:
    return f"tcp:{port}:interface=127.0.0.1"


def stranger(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


def test_an_address_that_comes_back_before_its_workers_have_left_it(scene: Any) -> None:
    one, two = free_ports(2)
    made = scene(web(held(one), held(two)))
    made.serve()
    assert made.master.serving
    for worker in made.live:
        assert len(worker.given) == 2, "they keep them"
    assert made.master.reload(web(held(one))).ok
    report = made.master.reload(web(held(one), held(two)))
    assert report.ok, report.errors
    for worker in made.live:
        for sock in worker.given[:2]:
            sock.close()
        del worker.given[:2]
    made.serve()
    made.serve()
    ports = [sorted(sock.getsockname()[1] for sock in worker.given) for worker in made.live]
    assert ports == [sorted([one, one, two])] * 2
    with socket.create_connection(("127.0.0.1", two)) as client:
        accepted = 0
        for worker in made.live:
            for sock in worker.given:
                sock.setblocking(False)
                try:
                    sock.accept()[0].close()
                    accepted += 1
                except BlockingIOError:
                    pass
        assert accepted == 1, client


def test_who_is_slow_gets_the_last_of_several_configurations(scene: Any) -> None:
    one, two, three = free_ports(3)
    made = scene(web(held(one)))
    made.serve()
    slow, fast = made.live
    for port in (one, two, three, two):
        assert made.master.reload(web(held(one), *([held(port)] * (port != one)))).ok
        assert made.master.reload(web(held(one))).ok
        made.read(fast)
        fast.ready()
        made.hear()
    assert made.master.reload(web(held(one), held(three))).ok
    for _ in range(3):
        made.serve()
    assert made.read(slow) == [], "it is up to date"
    ports = [[sock.getsockname()[1] for sock in worker.given][-2:] for worker in made.live]
    assert ports == [[one, three]] * 2
    assert len(slow.given) < len(fast.given)


def test_a_stranger_is_noticed_when_the_workers_have_left(scene: Any) -> None:
    one, two = free_ports(2)
    made = scene(web(held(one), held(two)))
    made.serve()
    assert made.master.reload(web(held(one))).ok
    made.serve()
    for worker in made.live:
        for sock in worker.given:
            sock.close()
    with stranger(two):
        report = made.master.reload(web(held(one), held(two)))
    assert not report.ok and "another program listens there" in report.errors[0]
    assert made.master.reload(web(held(one), held(two))).ok


def test_a_worker_that_was_killed_holds_nothing(scene: Any) -> None:
    one, two = free_ports(2)
    made = scene(web(held(one), held(two)))
    made.serve()
    for worker in made.live:
        worker.end(-9)
    made.hear()
    made.reactor.advance(0.05)
    assert made.master.reload(web(held(one))).ok
    with stranger(two):
        assert not made.master.reload(web(held(one), held(two))).ok


def test_from_one_interface_to_all_and_back(scene: Any) -> None:
    (port,) = free_ports(1)
    made = scene(web(held(port)))
    made.serve()
    for text in (web(f"tcp:{port}"), web(held(port))):
        report = made.master.reload(text)
        assert report.ok, report.errors
        made.serve()


def test_a_taken_port_changes_nothing_and_leaves_the_sockets(scene: Any) -> None:
    one, two = free_ports(2)
    made = scene(web(held(one)))
    made.serve()
    bound = made.master.listeners[0].bound
    with stranger(two):
        assert not made.master.reload(web(held(one), held(two))).ok
        assert not made.master.reload(web(f"tcp:{one}", held(two))).ok
    assert made.master.listeners[0].bound is bound and bound.sockets()
    assert [one for worker in made.live for one in made.read(worker)] == []


@pytest.mark.parametrize("where", ["socketpair", "Popen"])
def test_a_worker_that_cannot_be_started_is_tried_again(
    scene: Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(web(held(*free_ports(1))))
    made.serve()
    full = OSError(errno.EMFILE, "too many open files")

    def fails(*args: Any) -> Any:
        raise full

    made.live[0].end(-9)
    made.hear()
    with monkeypatch.context() as patch:
        if where == "socketpair":
            patch.setattr(socket, "socketpair", fails)
        else:
            made.trouble.append(full)
        made.reactor.advance(0.05)
        made.reactor.advance(0.11)
    assert len(made.live) == 1 and made.master.workers[0].pid == 0
    made.reactor.advance(0.5)
    made.serve()
    assert len(made.live) == 2 and made.master.serving


def test_counts_that_cannot_be_added_do_not_keep_it_from_being_started_again(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(web(held(*free_ports(1))))
    made.serve()
    with monkeypatch.context() as patch:
        patch.setattr(made.master._totals, "ended", lambda slot: 1 / 0)
        made.live[0].end(-9)
        made.hear()
        made.reactor.advance(0.05)
    made.reactor.advance(0.2)
    made.serve()
    assert len(made.live) == 2 and made.master.serving


def test_a_dead_worker_whose_end_of_the_channel_is_held_by_another(scene: Any) -> None:
    made = scene(web(held(*free_ports(1))))
    made.serve()
    dead = made.live[0]
    dead.status = -9
    made.reactor.advance(0.3)
    made.reactor.advance(0.2)
    made.serve()
    assert len(made.live) == 2 and made.master.serving
    dead.close()


def test_a_stop_in_the_pause_before_a_restart(scene: Any) -> None:
    made = scene(web(held(*free_ports(1))))
    made.serve()
    made.live[0].end(-9)
    made.hear()
    made.reactor.advance(0.03)
    done: list[Any] = []
    made.master.stopService().addCallback(done.append)
    (left,) = made.live
    assert made.read(left)[-1] == {"type": "stop", "fds": 0}
    left.end(0)
    made.hear()
    made.reactor.advance(1)
    assert done and len(made.processes) == 2


def test_sums_that_cannot_be_written_do_not_keep_it_from_ending(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(web(held(*free_ports(1))))
    made.serve()
    monkeypatch.setattr(made.master._totals, "write", lambda: 1 / 0)
    done: list[Any] = []
    made.master.stopService().addBoth(done.append)
    for one in made.live:
        one.end(0)
    made.hear()
    made.reactor.advance(0.1)
    made.reactor.advance(1)
    assert done[0].check(ZeroDivisionError) and not made.master.running


def test_a_worker_that_cannot_reload_is_bidden_to_end_and_then_made_to(scene: Any) -> None:
    made = scene(web(held(*free_ports(1)), more="timeout_shutdown = 3s\n"))
    made.serve()
    first, other = made.live
    first.say("failed", why="no such file")
    made.hear()
    assert made.read(first)[-1]["type"] == "stop"
    made.reactor.advance(7)
    assert not first.killed, "it has its time"
    made.reactor.advance(2)
    assert first.killed == 1 and not other.killed
    made.hear()
    for _ in range(5):
        made.reactor.advance(0.1)
    made.serve()
    assert len(made.live) == 2 and made.master.serving


def test_nothing_is_piled_up_for_a_worker_that_does_not_read(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicated, "BEHIND", 300_000)
    made = scene(web(held(*free_ports(1)), more="worker_timeout = 1h\n"))
    made.serve()
    stopped, other = made.live
    lb = made.master
    slow = lb.workers[0].channel
    (kind,) = (one["app"]["kind"] for one in _learnt(lb, [b"seen"]))
    for number in range(400):
        keys = {f"{number:016x}{n:016x}": "a" for n in range(40)}
        other.publish({"app": {"kind": kind, "entries": keys}})
        made.hear()
        lb.set_weight("app", "a", number % 7 + 1)
        made.reactor.advance(0.3)
        made.read(other)
        assert slow.behind < 350_000
    told = made.read(stopped)
    assert len([one for one in told if one["type"] == "state"]) < 200
    assert sum(len(entries(one)) for one in told if one["type"] == "publish") < 15_000
    made.reactor.advance(0.3)
    caught: dict[str, str] = {}
    weights = []
    for one in made.read(stopped):
        if one["type"] == "publish":
            caught |= entries(one)
        if one["type"] == "state":
            weights.append(one["state"]["app"][0]["weight"])
    assert len(caught) == 16_001, "it is taught the whole table"
    assert weights == [399 % 7 + 1]
    made.reactor.advance(0.3)
    assert made.read(stopped) == []


def test_places_on_the_board_are_told_when_they_change(scene: Any) -> None:
    made = scene(web(held(*free_ports(1))))
    one = made.live[0]
    told = []
    for change in (
        lambda: None,
        lambda: made.master.set_weight("app", "a", 3),
        lambda: made.master.add_server("app", "b 10.0.0.2:80"),
        lambda: made.master.set_weight("app", "a", 4),
        lambda: made.master.remove_server("app", "a"),
        lambda: made.master.add_server("app", "c 10.0.0.3:80"),
    ):
        change()
        made.reactor.advance(0.3)
        told += [said["places"] for said in made.read(one) if "places" in said]
    a, b, c = (f"app/{name}/10.0.0.{n}:80" for n, name in enumerate("abc", 1))
    queue = {"app//queue": 0}
    assert told == [
        {**queue, **places} if places is not None else None
        for places in ({a: 1}, None, {a: 1, b: 2}, None, {b: 2}, {b: 2, c: 1})
    ]
    made.serve()


def entries(message: dict[str, Any]) -> dict[str, str]:
    return dict(message["message"]["app"]["entries"])


def _learnt(lb: Any, keys: list[bytes]) -> list[dict[str, Any]]:
    table = lb.backends["app"].sticky.table
    for key in keys:
        table.put(key, "a")
    return list(replication.whole(lb.backends))


def test_who_stays_behind_is_replaced(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LINE_MAX", 20_000)
    made = scene(web(held(*free_ports(1))))
    made.serve()
    stopped, other = made.live
    for _ in range(6000):
        made.master.kill_sessions("app", "a")
        made.read(other)
        if made.master.workers[0].channel is None:
            break
    assert made.master.workers[0].channel is None
    made.reactor.advance(3)
    assert stopped.killed == 1
    made.reactor.advance(0.5)
    made.serve()
    assert made.master.serving and len(made.live) == 2


def test_a_hundred_reloads_leave_no_descriptors(scene: Any) -> None:
    one, two = free_ports(2)
    made = scene(web(held(one)))
    made.serve()
    before = settled_descriptors()
    for number in range(100):
        assert made.master.reload(web(held(one), *([held(two)] * (number % 2 == 0)))).ok
        for worker in made.live:
            made.read(worker)
            for sock in worker.given:
                sock.close()
            worker.given.clear()
            worker.ready()
        made.hear()
    assert descriptors() <= before - 2, "the workers' first"


def beat(made: Any, *workers: Any) -> None:
    for one in workers:
        one.say("report", report={})
    made.hear()


def test_a_worker_that_hangs_is_replaced(scene: Any) -> None:
    made = scene(web(held(*free_ports(1)), more="worker_timeout = 5s\n"))
    made.serve()
    hung, other = made.live
    for _ in range(40):
        beat(made, other)
        made.reactor.advance(0.25)
    assert hung.killed == 1 and not other.killed
    assert hung.signals == [supervisor.STACK_SIGNAL], "its stack first"
    made.hear()
    made.reactor.advance(0.2)
    made.reactor.advance(0.2)
    made.serve()
    assert len(made.live) == 2 and made.master.serving and made.master.turning


def test_a_master_that_was_late_itself_judges_nobody(scene: Any) -> None:
    made = scene(web(held(*free_ports(1)), more="worker_timeout = 5s\n"))
    made.serve()
    made.reactor.advance(20)
    assert not any(one.signals for one in made.live)
    beat(made, *made.live)
    made.reactor.advance(0.25)
    assert not any(one.signals for one in made.live)


def test_a_large_configuration_takes_its_time(scene: Any) -> None:
    made = scene(web(held(*free_ports(1)), more="worker_timeout = 5s\n"))
    for _ in range(80):
        made.reactor.advance(0.25)
    assert not any(one.signals for one in made.live), "they start"
    assert not made.master.serving and made.master.turning
    made.serve()
    assert made.master.serving
    for _ in range(8 * 60 * 2):
        made.reactor.advance(0.25)
        made.hear()
    assert len(made.processes) > 2, "not for ever"


def test_the_master_says_whether_workers_turn(scene: Any) -> None:
    made = scene(web(held(*free_ports(1)), more="worker_timeout = 5s\n"))
    made.serve()
    assert made.master.turning
    made.reactor.advance(0.1)
    made.master._supervisor._reactor.advance(0)
    made.reactor.rightNow += 7  # nothing runs meanwhile
    assert not made.master.turning
    beat(made, *made.live)
    assert made.master.turning


def test_a_master_from_a_file(tmp_path: Any) -> None:
    """As the command line makes it."""
    path = tmp_path / "lb.ini"
    path.write_text(web(held(*free_ports(1))))
    reactor = Reactor()
    made = Master.from_config(path, reactor=reactor, network=StockNetwork(reactor))
    assert isinstance(made, Master) and made.count == made.processes == 2
