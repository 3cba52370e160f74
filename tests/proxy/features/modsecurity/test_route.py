"""Routes whose firewall has ``rules``: a load balancer on a real reactor with real processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from lbproxy.config.errors import ConfigErrors
from lbproxy.service import LoadBalancer
from tests.support.modsecurity import CRS, library, small_rules, with_core_rules
from tests.support.ports import free_ports
from tests.support.reactor import eventually, run, sleep

TEXT = """
[lbproxy]
access_log = {folder}/access.log json
[waf main]
rules = {rules}
{waf}
[frontend web]
listen = tcp:{port}:interface=127.0.0.1
waf = main
{frontend}
backend = app
[backend app]
servers = a 127.0.0.1:{origin}
"""
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


class Origin(Protocol):
    """Answers the first read of each request with what is in the factory."""

    def connectionMade(self) -> None:
        """Remember nothing yet."""
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        """RuleAnswer a request whose body is complete."""
        self.data += data
        head, blank, body = self.data.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
        if blank and len(body) >= size:
            factory: Any = self.factory
            factory.bodies.append(body)
            self.data = b""
            self.transport.write(factory.answer)


class Client(Protocol):
    """Collects until the other end closes."""

    def __init__(self) -> None:
        self.data = b""
        self.closed: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        """Hand over all."""
        self.closed.callback(self.data)


class Play:
    """A load balancer, its origin, and clients."""

    def __init__(self, reactor: Any, text: str, port: int, factory: Any) -> None:
        self.reactor = reactor
        self.text = text
        self.port = port
        self.origin = factory
        self.lb = LoadBalancer.from_config(text, reactor=reactor)

    @property
    def pool(self) -> Any:
        """The processes of the firewall."""
        return self.feature.rules.pool

    @property
    def feature(self) -> Any:
        """The only firewall."""
        found = [one.features.get("waf") for one in self.lb.routes.values()]
        (one,) = filter(None, found)
        return one

    def counts(self, *names: str) -> list[int]:
        """Counters of it."""
        found = self.feature.snapshot()
        return [found[name] for name in names]

    async def connect(self) -> Client:
        """A client."""
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.port)
        made: Client = await connectProtocol(endpoint, Client())
        return made

    async def send(self, data: bytes) -> bytes:
        """The response to these bytes."""
        client = await self.connect()
        client.transport.write(data)
        return await client.closed

    async def get(self, target: bytes) -> bytes:
        """The response to a GET."""
        return await self.send(b"GET %b HTTP/1.1\r\nHost: h.example\r\n%b\r\n" % (target, LAST))

    async def post(self, body: bytes, head: bytes = FORM) -> bytes:
        """The response to a POST."""
        size = b"Content-Length: %d\r\n" % len(body)
        return await self.send(
            b"POST / HTTP/1.1\r\nHost: h.example\r\n" + head + size + LAST + b"\r\n" + body
        )


LAST = b"Connection: close\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/html\r\n\r\nok"


def played(
    folder: Path,
    play: Callable[[Play], Coroutine[Any, Any, None]],
    waf: str = "",
    frontend: str = "",
    rules: str = "",
) -> list[dict[str, Any]]:
    """Run ``play``; return the access log."""
    library().close()
    rules = rules or str(small_rules(folder))

    async def scenario(reactor: Any) -> None:
        factory: Any = Factory.forProtocol(Origin)
        factory.noisy = False
        factory.bodies, factory.answer = [], OK
        origin = reactor.listenTCP(0, factory, interface="127.0.0.1")
        (port,) = free_ports(1)
        text = TEXT.format(
            folder=folder, rules=rules, waf=waf, port=port, frontend=frontend,
            origin=origin.getHost().port,
        )  # fmt: skip
        one = Play(reactor, text, port, factory)
        one.lb.privilegedStartService()
        one.lb.startService()
        try:
            await play(one)
        finally:
            await one.lb.stopService()
            await origin.stopListening()

    run(scenario)
    lines = (folder / "access.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


def code(response: bytes) -> int:
    """The status of a response."""
    return int(response.split(b" ", 2)[1]) if response else 0


def test_attacks_are_refused_and_logged(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        assert code(await one.get(b"/?q=fine")) == 200
        refused = await one.get(b"/?q=an+attack")
        assert code(refused) == 403
        assert code(await one.post(b"q=an+attack")) == 403
        assert code(await one.post(b"q=fine")) == 200
        assert one.counts("requests", "blocked", "own", "unjudged") == [4, 2, 2, 0]
        assert one.origin.bodies == [b"", b"q=fine"]

    records = played(tmp_path, play)
    assert [one["close"] for one in records] == ["ok", "blocked", "blocked", "ok"]
    assert records[1]["detail"] == "waf main: score 5: 100 An attack in ARGS:q"


def test_the_core_rule_set_refuses(tmp_path: Path) -> None:
    with_core_rules()

    async def play(one: Play) -> None:
        assert code(await one.get(b"/?q=hello")) == 200
        assert code(await one.get(b"/?q=%27+or+1%3D1--")) == 403
        assert code(await one.post(b"{", b"Content-Type: application/json\r\n")) == 400
        assert one.counts("blocked", "sqli", "broken") == [1, 1, 1]

    records = played(tmp_path, play, rules=CRS)
    assert "942100 SQL Injection Attack" in records[1]["detail"]


def test_detection_passes_and_logs(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        assert code(await one.get(b"/?q=an+attack")) == 200
        assert one.counts("blocked", "detected") == [0, 1]

    records = played(tmp_path, play, "mode = detect")
    assert records[0]["detail"].startswith("waf main would refuse: score 5: 100 ")


def test_the_audit_log_names_rules_and_no_values(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        await one.get(b"/p?q=an+attack+hunter2&x=1")
        await one.get(b"/p?q=odd")
        await one.get(b"/p?q=fine")

    records = played(tmp_path, play, f"audit = {tmp_path}/audit.log")
    text = (tmp_path / "audit.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["action"] for line in lines] == ["blocked", "passed"]
    first = lines[0]
    assert first["rules"] == [{"id": 100, "message": "An attack", "target": "ARGS:q"}]
    assert (first["score"], first["path"], first["phase"]) == (5, "/p", "request")
    assert first["request_id"] == records[0]["request_id"]
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("waf", "status"),
    [("on_error = closed", 503), ("on_error = open", 200), ("mode = detect", 200)],
)
def test_requests_without_a_verdict(tmp_path: Path, waf: str, status: int) -> None:
    async def play(one: Play) -> None:
        assert code(await one.get(b"/")) == 200
        (pid,) = one.pool.pids
        os.kill(pid, signal.SIGSTOP)
        assert code(await one.get(b"/")) == status
        assert one.counts("unjudged") == [1]

    records = played(tmp_path, play, f"{waf}\ndeadline = 200ms")
    assert "no verdict within 0.2 s" in records[1]["detail"]


def test_other_requests_do_not_wait_for_the_processes(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        assert code(await one.get(b"/")) == 200
        (pid,) = one.pool.pids
        os.kill(pid, signal.SIGSTOP)
        client = await one.connect()
        client.transport.write(b"GET / HTTP/1.1\r\nHost: h\r\n" + LAST + b"\r\n")
        for _ in range(5):
            assert code(await one.get(b"/free/a")) == 200
        assert client.data == b""
        os.kill(pid, signal.SIGCONT)
        assert code(await client.closed) == 200

    played(tmp_path, play, "deadline = 20s", "routes =\n    path /free/* -> app waf=none")


def test_too_many_waiting_requests(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        assert code(await one.get(b"/")) == 200
        (pid,) = one.pool.pids
        os.kill(pid, signal.SIGSTOP)
        clients = [await one.connect() for _ in range(4)]
        for client in clients:
            client.transport.write(b"GET / HTTP/1.1\r\nHost: h\r\n" + LAST + b"\r\n")
        await eventually(one.reactor, lambda: sum(bool(c.data) for c in clients) == 2)
        assert [code(c.data) for c in clients if c.data] == [503, 503]
        os.kill(pid, signal.SIGCONT)
        found = [code(await client.closed) for client in clients]
        assert sorted(found) == [200, 200, 503, 503]

    played(tmp_path, play, "queue = 1\ndeadline = 20s")


def test_long_bodies(tmp_path: Path) -> None:
    body = b"q=fine&r=" + b"a" * 300_000

    async def play(one: Play) -> None:
        assert code(await one.post(body)) == 200
        assert one.origin.bodies == [body]
        assert code(await one.post(b"q=an+attack&r=" + b"a" * 300_000)) == 403
        assert one.counts("over_limit") == [2]

    played(tmp_path, play, "body_limit = 1k")


def test_long_bodies_may_be_refused(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        assert code(await one.post(b"a" * 1025)) == 413
        assert code(await one.post(b"a" * 1024)) == 200

    played(tmp_path, play, "body_limit = 1k\nover_limit = reject")


def test_a_client_that_waits_for_100_gets_it(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        client = await one.connect()
        client.transport.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 6\r\n"
            + FORM + LAST + b"\r\n"
        )  # fmt: skip
        await eventually(one.reactor, lambda: b"HTTP/1.1 100 Continue\r\n" in client.data)
        client.transport.write(b"q=fine")
        assert b"HTTP/1.1 200 OK" in await client.closed

    played(tmp_path, play)


def test_a_client_that_leaves_while_the_verdict_is_awaited(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        assert code(await one.get(b"/")) == 200
        (pid,) = one.pool.pids
        os.kill(pid, signal.SIGSTOP)
        client = await one.connect()
        client.transport.write(b"GET /gone HTTP/1.1\r\nHost: h\r\n\r\n")
        await sleep(one.reactor, 0.1)
        client.transport.abortConnection()
        await sleep(one.reactor, 0.1)
        os.kill(pid, signal.SIGCONT)
        assert code(await one.get(b"/")) == 200
        assert one.origin.bodies == [b"", b""]

    played(tmp_path, play, "deadline = 10s")


def test_exclusions_by_condition(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        assert code(await one.get(b"/search?q=an+attack")) == 200
        assert code(await one.get(b"/other?q=an+attack")) == 403

    played(tmp_path, play, "exclude = 100 ARGS:q if path /search")


def test_functions_of_the_operator_judge_too(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def tenant(request):\n"
        "    return request.values('ARGS:t') == [b'evil'] and 'wrong tenant'\n"
    )

    async def play(one: Play) -> None:
        assert code(await one.get(b"/?t=good")) == 200
        assert code(await one.get(b"/?t=evil")) == 403
        assert code(await one.post(b"t=evil")) == 403

    records = played(tmp_path, play, f"own = {tmp_path}/own.py:tenant")
    assert "999001 wrong tenant in REQUEST" in records[1]["detail"]


def test_responses_are_judged_if_wanted(tmp_path: Path) -> None:
    def answer(body: bytes, kind: bytes = b"text/html") -> bytes:
        size = b"Content-Length: %d\r\n" % len(body)
        return b"HTTP/1.1 200 OK\r\n" + size + b"Content-Type: " + kind + b"\r\n\r\n" + body

    async def play(one: Play) -> None:
        for body, kind, status in (
            (b"hello", b"text/html", 200),
            (b"a secret", b"text/html", 403),
            (b"a secret", b"image/png", 200),
            (b"a secret" + b"x" * 900_000, b"text/html", 403),
            (b"x" * 900_000, b"text/html", 200),
        ):
            one.origin.answer = answer(body, kind)
            found = await one.get(b"/")
            assert code(found) == status
            if status == 200:
                assert found.endswith(body)
        assert one.counts("requests", "blocked") == [5, 2]

    records = played(tmp_path, play, f"responses = yes\naudit = {tmp_path}/audit.log")
    assert records[1]["detail"] == "waf main: response score 5: 102 A leak in RESPONSE_BODY"
    line = json.loads((tmp_path / "audit.log").read_text().splitlines()[0])
    assert line["phase"] == "response"


@pytest.mark.parametrize("responses", ["no", "yes"])
def test_upgrades_are_judged_and_pass(tmp_path: Path, responses: str) -> None:
    async def play(one: Play) -> None:
        upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        one.origin.answer = b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\nhello"
        client = await one.connect()
        client.transport.write(b"GET /ws HTTP/1.1\r\nHost: h\r\n" + upgrade + b"\r\n")
        await eventually(one.reactor, lambda: client.data.endswith(b"hello"))
        assert code(client.data) == 101
        client.transport.abortConnection()
        client = await one.connect()
        client.transport.write(b"GET /?q=attack HTTP/1.1\r\nHost: h\r\n" + upgrade + b"\r\n")
        await eventually(one.reactor, lambda: client.data)
        assert code(client.data) == 403
        client.transport.abortConnection()

    played(tmp_path, play, f"responses = {responses}")


def test_a_reload_keeps_the_processes_and_the_requests(tmp_path: Path) -> None:
    async def play(one: Play) -> None:
        assert code(await one.get(b"/")) == 200
        before = one.pool.pids
        client = await one.connect()
        client.transport.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n" + FORM + LAST + b"\r\nq="
        )
        await sleep(one.reactor, 0.05)
        detect = one.text.replace("[frontend web]", "mode = detect\n[frontend web]")
        assert one.lb.reload(detect).ok
        await sleep(one.reactor, 0.05)
        assert one.pool.pids == before
        client.transport.write(b"fine")
        assert code(await client.closed) == 200
        assert code(await one.get(b"/?q=an+attack")) == 200
        assert one.lb.reload(one.text.replace("waf = main", "")).ok
        await eventually(one.reactor, lambda: not any(Path(f"/proc/{p}").exists() for p in before))
        assert code(await one.get(b"/?q=an+attack")) == 200

    played(tmp_path, play)


@pytest.mark.parametrize(
    ("waf", "words"),
    [
        ("rules = /nonexistent", "there is no folder /nonexistent"),
        ("rules = {rules}\nexclude = 5", "the rule set has no rule 5"),
        ("rules = {rules}\nengine = {bad}", "SecNonsense"),
        ("rules = {rules}\nsetup = /nonexistent", "no such file"),
        ("processes = 2", "'processes' needs 'rules'"),
    ],
)
def test_mistakes(tmp_path: Path, waf: str, words: str) -> None:
    library().close()
    bad = tmp_path / "bad.conf"
    bad.write_text("SecNonsense")
    waf = waf.format(rules=small_rules(tmp_path), bad=bad)
    text = f"[waf main]\n{waf}\n[frontend web]\nlisten = tcp:80\nwaf = main\nbackend = app\n"
    text += "[backend app]\nservers = a 127.0.0.1:1\n"

    async def scenario(reactor: Any) -> None:
        with pytest.raises(ConfigErrors, match=words):
            LoadBalancer.from_config(text, reactor=reactor)

    run(scenario)
