"""``shed`` on the virtual clock: lag, memory, queues, who is exempt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.proxy.features.shedding import load
from lbproxy.registry import parse_config
from lbproxy.testing import LB, LoadBalancerFixture

TEXT = """
[frontend web]
listen = tcp:80
access_log = mem.log json
shed = {shed}
routes =
    path /good   -> app priority=-5
    path /bad    -> app priority=5
    path /status -> app shed=no
    path /health -> reply 200 fine
    default      -> app
[backend app]
servers = a 10.0.0.1:80 {server}
timeout_queue = 1m
queue = 8
[frontend db]
mode = tcp
listen = tcp:81
shed = lag 50ms
backend = pg
[backend pg]
servers = b 10.0.0.1:90
"""

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[LoadBalancerFixture] = []

    def start(shed: str = "lag 50ms", server: str = "") -> Any:
        lb = LB.from_config(TEXT.format(shed=shed, server=server))
        lb.origin("a", "10.0.0.1:80")
        made.append(lb)
        return lb

    yield start
    for lb in made:
        lb.close()


def feature(lb: LoadBalancerFixture, frontend: str = "web") -> Any:
    return lb.service.frontend(frontend).features["shed"]


def late(lb: LoadBalancerFixture, seconds: float, steps: int) -> None:
    """Let the reactor be late; there is traffic of all kinds meanwhile."""
    for _ in range(steps):
        for path in ("/good", "/bad", "/"):
            lb.get(f"http://h{path}")
        feature(lb).meter.lag = seconds / load._KEEP
        lb.advance(0.25)


def shares(lb: LoadBalancerFixture, *paths: str) -> list[float]:
    return [sum(lb.get(f"http://h{path}").status == 503 for _ in range(40)) / 40 for path in paths]


def test_a_late_process_refuses_the_worst_first(make: Make) -> None:
    lb = make()
    assert shares(lb, "/good", "/", "/bad") == [0, 0, 0]
    late(lb, 0.06, 8)
    good, middle, bad = shares(lb, "/good", "/", "/bad")
    assert good == 0 and bad == 1 and middle < 1
    record = next(one for one in map(json.loads, lb.log_lines()) if one["status"] == 503)
    assert record["close"] == "shed" and record["detail"].startswith("lag ")
    late(lb, 0.5, 40)
    assert shares(lb, "/") == [1.0] and shares(lb, "/good")[0] > 0.5
    assert feature(lb).snapshot()["share"] == 0.95
    lb.advance(60)
    assert shares(lb, "/good", "/", "/bad") == [0, 0, 0]
    assert lb.service.frontend("web").counts["shed"].shed > 50


def test_a_refused_request_may_come_again(make: Make) -> None:
    lb = make()
    late(lb, 1.0, 30)
    refused = next(one for one in (lb.get("http://h/") for _ in range(9)) if one.status == 503)
    assert refused.header("Retry-After") == "1"


def test_who_is_exempt(make: Make) -> None:
    lb = make()
    late(lb, 1.0, 40)
    assert shares(lb, "/status", "/health") == [0, 0]


def test_sessions_are_closed(make: Make) -> None:
    lb = make()
    lb.tcp_origin("b", "10.0.0.1:90")
    late(lb, 1.0, 40)
    closed = 0
    for _ in range(40):
        client = lb.connect("db")
        client.send(b"x")
        closed += client.closed
    assert closed > 20


def test_memory(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    used = 0.5
    monkeypatch.setattr(load, "memory_share", lambda: used)
    lb = make("memory 90%")
    lb.advance(5)
    assert feature(lb).snapshot()["share"] == 0
    used = 0.95
    for _ in range(20):
        lb.get("http://h/")
        lb.advance(1)
    assert feature(lb).snapshot()["share"] > 0.5


def test_the_last_places_of_a_queue_are_for_what_matters(make: Make) -> None:
    lb = make("queue 50%", "maxconn=1")

    def ask(path: str) -> Any:
        client = lb.connect("web")
        client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        return client

    lb.server("app", "a").maxconn = 1
    held = lb.connect("web")
    held.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
    statuses = [[ask(path).received[9:12] for _ in range(9)] for path in ("/bad", "/", "/good")]
    waiting = [sum(not status for status in some) for some in statuses]
    assert waiting == [5, 1, 2]  # below 61 %, 75 % and 89 % of 8 places


def test_the_meter_measures_lag() -> None:
    from twisted.internet.task import Clock

    clock = Clock()
    meter = load.LoadMeter(clock)
    seen: list[float] = []
    stepped = lambda: seen.append(meter.lag)  # noqa: E731
    meter.use(stepped)
    clock.advance(0.25)
    clock.advance(0.75)
    clock.advance(0.25)
    meter.leave(stepped)
    meter.leave(stepped)
    assert [round(one, 3) for one in seen] == [0, 0.5, 0.35]
    assert not clock.getDelayedCalls()


def test_memory_of_a_control_group_and_of_the_machine(tmp_path: Path) -> None:
    machine = tmp_path / "meminfo"
    assert load.memory_share(tmp_path, machine) == 0
    machine.write_text("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   250 kB\n")
    assert load.memory_share(tmp_path, machine) == 0.75
    (tmp_path / "memory.max").write_text("max\n")
    assert load.memory_share(tmp_path, machine) == 0.75
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500\n")
    assert load.memory_share(tmp_path, machine) == 0.4
    assert 0 < load.memory_share() < 1


def test_memory_of_the_group_of_a_service(tmp_path: Path) -> None:
    """As under systemd: the limit is not that of the root, nor always of the innermost group."""

    def limit(group: Path, most: str, used: int) -> None:
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(f"{most}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text("inactive_file 0\n")

    machine, own = tmp_path / "meminfo", tmp_path / "cgroup"
    machine.write_text("MemTotal:  1000 kB\nMemAvailable:   250 kB\n")
    groups = tmp_path / "groups"
    own.write_text("1:name=x:/old\n0::/system.slice/lbproxy.service\n")
    assert load.memory_share(groups, machine, own) == 0.75
    limit(groups / "system.slice", "1000", 300)
    limit(groups / "system.slice/lbproxy.service", "max", 100)
    assert load.memory_share(groups, machine, own) == 0.3
    limit(groups / "system.slice/lbproxy.service", "200", 100)
    assert load.memory_share(groups, machine, own) == 0.5
    limit(tmp_path, "1000", 900)
    own.write_text("0::/../../elsewhere\n")
    assert load.memory_share(groups, machine, own) == 0.75


def test_keys_and_reload(make: Make) -> None:
    text = TEXT.format(shed="lag 50ms, memory 90%, queue 50%", server="")
    config = parse_config(text)
    assert "shed = lag 50ms, memory 90%, queue 50%" in dump(config)
    assert parse_config(dump(config)) == config
    lb = make()
    late(lb, 1.0, 10)
    lb.service.reload(parse_config(text.replace("shed = lag 50ms, memory 90%, queue 50%\n", "")))
    assert "shed" not in lb.service.frontend("web").features
    assert shares(lb, "/") == [0]


@pytest.mark.parametrize(
    ("shed", "words"),
    [
        ("lag", "write LOAD LIMIT"),
        ("cpu 50%", "unknown load 'cpu'"),
        ("lag 50", "50"),
        ("lag 50ms, lag 60ms", "lag appears twice"),
        ("memory 150%", "between"),
    ],
)
def test_mistakes(shed: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(TEXT.format(shed=shed, server=""))
    assert words in str(caught.value)
