"""Alerts in a load balancer at work, on a virtual clock; the targets are a list."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

from lbproxy.alerts.alerter import IN_FLIGHT, limits_of, manners_of
from lbproxy.alerts.notify import Destination, NotifyError
from lbproxy.errors import Kind
from lbproxy.observe.alerts import RULES, AlertLimits
from lbproxy.observe.events import EventKind, EventSeverity
from lbproxy.observe.notices import Notice
from lbproxy.registry import parse_config
from lbproxy.service import LoadBalancer
from lbproxy.testing import LB, HTTPOrigin, MemoryReactor
from lbproxy.testing.client import open_client

TEXT = """
    [alerts]
    [frontend web]
    listen = tcp:8080
    backend = app
    [backend app]
    retries = 0
    servers =
        a 10.0.0.1:8000
        b 10.0.0.2:8000
"""


class Listed(Destination):
    """Takes notices down; ``fails``: how many tries go wrong; ``hold``: takes forever."""

    name = "a list"
    retries = 2
    words = "answered 500"

    def __init__(self, reactor: Any, fails: int = 0, hold: bool = False) -> None:
        super().__init__(reactor)
        self.got: list[Notice] = []
        self.fails = fails
        self.hold = hold
        self.tries = 0

    async def send(self, notice: Notice) -> None:
        self.tries += 1
        if self.hold:
            await Deferred()
        if self.fails:
            self.fails -= 1
            raise NotifyError(self.words)
        self.got.append(notice)

    @property
    def lines(self) -> list[tuple[str, str, str]]:
        return [
            (line.state, line.alert.name, line.alert.subject)
            for notice in self.got
            for line in notice.lines
        ]


@pytest.fixture
def reactor() -> MemoryReactor:
    return MemoryReactor()


def started(
    reactor: MemoryReactor, text: str = TEXT, **options: Any
) -> tuple[LoadBalancer, Listed]:
    balancer = LoadBalancer.from_config(dedent(text), reactor=reactor)
    balancer.startService()
    target = Listed(reactor, **options)
    balancer.alerter._targets = [target]
    return balancer, target


def stop(balancer: LoadBalancer, reactor: MemoryReactor) -> None:
    done: list[Any] = []
    balancer.stopService().addBoth(done.append)
    assert reactor.advance_until(lambda: done, 60)
    reactor.advance(5)
    assert not reactor.getDelayedCalls()


def down(balancer: LoadBalancer, *names: str, healthy: bool = False) -> None:
    group = balancer.backends["app"].group
    for name in names:
        group.set_health(group.servers[name], healthy, "connection refused")


def get(reactor: MemoryReactor, path: bytes = b"/") -> bytes:
    client = open_client(reactor, "127.0.0.1", 8080, client_ip="203.0.113.1")
    client.send(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return bytes(client.received[:12])


def test_a_backend_without_servers_is_told_and_shown(reactor: MemoryReactor) -> None:
    balancer, target = started(reactor)
    reactor.advance(10)
    down(balancer, "a", "b")
    reactor.advance(5)
    assert target.lines == [("firing", "backend_empty", "app")]
    assert [alert.name for alert in balancer.alerter.active] == ["backend_empty"]
    (event,) = [e for e in balancer.events.since() if e.kind is EventKind.ALERT]
    assert (event.subject, event.severity) == ("app", EventSeverity.ERROR)
    assert event.text == "backend_empty: backend app has no server"
    assert event.facts["name"] == "backend_empty"
    down(balancer, "a", "b", healthy=True)
    reactor.advance(40)
    assert target.lines[1:] == [("recovered", "backend_empty", "app")]
    (event,) = [e for e in balancer.events.since() if e.kind is EventKind.RECOVERED]
    assert event.text == "backend_empty: over: backend app: 2 of 2 servers are up"
    assert balancer.alerter.sent == 2 and not balancer.alerter.active
    stop(balancer, reactor)


def test_requests_that_fail(reactor: MemoryReactor) -> None:
    origins = [HTTPOrigin(reactor, n, f"10.0.0.{i}:8000", 500) for i, n in enumerate("ab", 1)]
    balancer, target = started(reactor)
    for _ in range(60):
        for _ in range(5):
            assert get(reactor) == b"HTTP/1.1 500"
        reactor.advance(1)
    assert ("firing", "error_ratio", "web") in target.lines
    for origin in origins:
        origin.stop()
    stop(balancer, reactor)


def test_failed_sessions_count_in_tcp_mode(reactor: MemoryReactor) -> None:
    text = TEXT.replace("[frontend web]", "[frontend web]\n    mode = tcp")
    balancer, target = started(reactor, text)
    closes = balancer.frontends["web"].counters.closes
    for _ in range(60):
        closes[Kind.OK] = closes.get(Kind.OK, 0) + 9
        closes[Kind.CONNECT_FAILED] = closes.get(Kind.CONNECT_FAILED, 0) + 1
        reactor.advance(1)
    assert target.lines == [("firing", "error_ratio", "web")]
    stop(balancer, reactor)


def test_who_sends_nonsense_is_named(reactor: MemoryReactor) -> None:
    text = TEXT.replace("backend = app\n", "routes = path /only -> app\n", 1)
    text = text.replace("[alerts]", "[alerts]\n    rules = attack volume=5")
    balancer, target = started(reactor, text)
    for _ in range(20):
        for _ in range(3):
            assert get(reactor, b"/wp-login.php") == b"HTTP/1.1 404"
        reactor.advance(1)
    reactor.advance(20)
    assert ("firing", "attack", "web 203.0.113.1") in target.lines
    stop(balancer, reactor)


def test_a_refused_reload_and_a_busy_reactor(reactor: MemoryReactor) -> None:
    balancer, target = started(reactor)
    reactor.advance(10)
    balancer.events.add(EventKind.RELOAD_REFUSED, "", "reload: nothing was changed")
    reactor.advance(2)
    assert target.lines == [("firing", "reload_refused", "")]
    for _ in range(8):  # each turn takes a second too long
        reactor.rightNow += 2
        reactor.advance(0)
    assert target.lines[1] == ("firing", "lag", "")
    stop(balancer, reactor)


def test_without_a_section_nothing_runs_and_nothing_is_counted(reactor: MemoryReactor) -> None:
    balancer, target = started(reactor, TEXT.replace("[alerts]", ""))
    down(balancer, "a", "b")
    reactor.advance(10)
    assert not target.got and not balancer.alerter.on and not balancer.alerter.active
    assert balancer.frontends["web"].offenders is None
    assert balancer.frontends["web"].counters.request_seconds is None
    stop(balancer, reactor)


def test_a_reload_brings_changes_and_takes_alerts_away(reactor: MemoryReactor) -> None:
    balancer, _ = started(reactor, TEXT.replace("[alerts]", ""))

    def reload(text: str) -> None:
        balancer.generation.config = parse_config(dedent(text))
        balancer.events.add(EventKind.RELOAD, "", "reload: made 1 change")

    reload(TEXT)
    assert balancer.alerter.on
    reactor.advance(2)
    assert balancer.frontends["web"].offenders is not None
    before = balancer.alerter._alerts
    reload(TEXT)
    assert balancer.alerter._alerts is before, "what it has learned is kept when nothing changes"
    reload(TEXT.replace("[alerts]", "[alerts]\n    rules = queue off"))
    assert balancer.alerter._alerts is not before
    reload(TEXT.replace("[alerts]", ""))
    assert not balancer.alerter.on and balancer.frontends["web"].offenders is None
    stop(balancer, reactor)


@pytest.mark.parametrize(
    ("status", "counted"), [(399, False), (400, True), (499, True), (500, False)]
)
def test_clients_with_refused_requests_are_counted(status: int, counted: bool) -> None:
    """Statuses from 400 to 499 make an address an offender; others do not."""
    lb = LB.from_config(dedent(TEXT))
    answer = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
    for server in ("a", "b"):
        lb.tcp_origin(server, f"10.0.0.{'ab'.index(server) + 1}:8000", lambda data: answer)
    lb.advance(2)
    assert lb.get("http://example.com:8080/").status == status
    offenders = lb.service.frontends["web"].offenders
    assert offenders is not None
    assert (offenders.worst() is not None) is counted
    lb.close()


def test_stop_and_start_again(reactor: MemoryReactor) -> None:
    balancer, _ = started(reactor)
    stop(balancer, reactor)
    balancer.startService()
    target = Listed(reactor)
    balancer.alerter._targets = [target]
    down(balancer, "a", "b")
    reactor.advance(5)
    assert target.lines == [("firing", "backend_empty", "app")]
    stop(balancer, reactor)


def test_a_target_that_fails_is_tried_again(reactor: MemoryReactor) -> None:
    balancer, target = started(reactor, fails=2)
    down(balancer, "a", "b")
    reactor.advance(3)
    assert target.tries == 1 and not target.got
    reactor.advance(4)
    assert target.tries == 3 and len(target.got) == 1
    assert (balancer.alerter.sent, balancer.alerter.failed) == (1, 0)
    stop(balancer, reactor)


def test_the_log_has_no_token_of_a_target_that_fails(reactor: MemoryReactor) -> None:
    """A program may repeat what it was called with."""
    logged: list[str] = []
    balancer, target = started(reactor, fails=99)
    target.words = (
        "exit 22: curl https://ops:s3cret-1@chat.example/hook?token=s3cret-2 -u ops:s3cret-3 "
        "-H 'Authorization: Bearer s3cret-4'"
    )

    def observe(event: Any) -> None:
        logged.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        down(balancer, "a", "b")
        reactor.advance(30)
    finally:
        globalLogPublisher.removeObserver(observe)
    (line,) = [one for one in logged if "exit 22" in one]
    assert "chat.example" in line and "s3cret" not in line
    stop(balancer, reactor)


def test_an_alert_about_a_refused_reload_has_no_token(reactor: MemoryReactor) -> None:
    balancer, target = started(reactor)
    reactor.advance(10)
    text = dedent(TEXT).replace(
        "[alerts]", "[alerts]\nwebhook = https://x.example token=s3cret-1 y"
    )
    assert not balancer.reload(text).ok
    reactor.advance(2)
    (notice,) = target.got
    assert "s3cret" not in notice.text and "s3cret" not in str(notice)
    assert not any("s3cret" in str(one) for one in balancer.events.since())
    stop(balancer, reactor)


def test_a_target_that_is_gone_is_given_up(reactor: MemoryReactor) -> None:
    balancer, target = started(reactor, fails=99)
    down(balancer, "a", "b")
    reactor.advance(30)
    assert target.tries == 3
    assert (balancer.alerter.sent, balancer.alerter.failed) == (0, 1)
    stop(balancer, reactor)


def test_targets_that_never_end_are_bounded_and_cancelled(reactor: MemoryReactor) -> None:
    balancer, target = started(reactor, hold=True)
    notice = []
    down(balancer, "a", "b")
    reactor.advance(5)
    notice = Notice((), 0)
    for _ in range(IN_FLIGHT + 5):
        balancer.alerter.tell(notice)
    assert target.tries == IN_FLIGHT and balancer.alerter.failed == 6
    stop(balancer, reactor)


def test_limits_and_manners_of_a_configuration() -> None:
    text = """
    [alerts]
    rules =
        error_ratio limit=1% after=5s volume=7
        certificate limit=30d
        latency off
        log_drops limit=10
    quiet = 22:00-06:00 12:30-13:00
    repeat = 1h
    recovery = no
    most = 3
    """
    spec = parse_config(dedent(text)).alerts
    limits = limits_of(spec)
    assert limits["error_ratio"] == AlertLimits(0.01, 5, 7)
    assert limits["certificate"] == AlertLimits(30 * 86400.0, 0)
    assert limits["log_drops"].limit == 10
    assert set(RULES) - set(limits) == {"latency"}
    manners = manners_of(spec)
    assert manners.quiet == ((1320, 360), (750, 780))
    assert (manners.repeat, manners.recovery, manners.most) == (3600, False, 3)


def test_a_reload_of_a_load_balancer_begins_and_ends_them() -> None:
    """At once: who hears of a reload finds the new configuration."""
    text = "[frontend w]\nlisten = tcp:80\nroutes = default -> reply 200 ok\n"
    with LB.from_config(text) as lb:
        alerter = lb.service.alerter
        assert not alerter.on
        assert lb.service.reload(text + "[alerts]\ncommands = /bin/true\n").ok
        assert alerter.on
        assert lb.service.reload(text + "[alerts]\ncommands = /bin/true\nrules = queue off\n").ok
        assert "queue" not in alerter._alerts._limits
        assert lb.service.reload(text).ok
        assert not alerter.on
