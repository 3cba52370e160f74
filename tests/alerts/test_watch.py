"""What operators are told: server states as they change, counters once a second, certificates once
an hour.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from lbproxy.errors import Kind
from lbproxy.observe.events import Event, EventKind, EventSeverity
from lbproxy.service import LoadBalancer
from lbproxy.testing import MemoryReactor
from lbproxy.tls.certificates import load, self_signed

TEXT = """
    [frontend web]
    listen = tcp:8080
    backend = app
    [backend app]
    servers =
        a 10.0.0.1:8000
        b 10.0.0.2:8000
"""


@pytest.fixture
def reactor() -> MemoryReactor:
    return MemoryReactor()


def started(reactor: MemoryReactor, text: str = TEXT) -> LoadBalancer:
    balancer = LoadBalancer.from_config(dedent(text), reactor=reactor)
    balancer.startService()
    return balancer


def of(balancer: LoadBalancer, *kinds: EventKind) -> list[Event]:
    return [event for event in balancer.events.since() if event.kind in kinds]


def test_a_servers_way_is_told(reactor: MemoryReactor) -> None:
    balancer = started(reactor)
    group = balancer.backends["app"].group
    group.set_health(group.servers["a"], False, "connection refused")
    balancer.drain("app", "b")
    balancer.maint("app", "b")
    balancer.ready("app", "b")
    group.set_health(group.servers["a"], True, "checked")
    told = [(e.kind.value, e.severity.value, e.text) for e in balancer.events.since()]
    assert told == [
        ("listener_bound", "info", "frontend web listens on :8080"),
        ("server_down", "warning", "server app/a is down: connection refused"),
        ("server_drain", "info", "server app/b is drain"),
        ("backend_empty", "error", "backend app has no usable server"),
        ("server_maint", "info", "server app/b is maint"),
        ("server_up", "info", "server app/b is up"),
        ("server_up", "info", "server app/a is up: checked"),
    ]
    assert balancer.events.since()[1].facts == {
        "backend": "app", "server": "a", "old": "up", "new": "down", "note": "connection refused",
    }  # fmt: skip


def test_a_backend_that_empties_in_one_change_is_told_of_once(reactor: MemoryReactor) -> None:
    balancer = started(reactor)
    group = balancer.backends["app"].group
    for _ in range(2):
        with group.changes():
            for server in group.servers.values():
                group.set_health(server, False, "gone")
        with group.changes():
            for server in group.servers.values():
                group.set_health(server, True)
    assert len(of(balancer, EventKind.BACKEND_EMPTY)) == 2


def test_listeners_are_told_of_at_both_ends(reactor: MemoryReactor) -> None:
    balancer = started(reactor)
    done: list[Any] = []
    balancer.stopService().addBoth(done.append)
    assert reactor.advance_until(lambda: done, 30)
    told = of(balancer, EventKind.LISTENER_BOUND, EventKind.LISTENER_CLOSED)
    assert [event.text for event in told] == [
        "frontend web listens on :8080",
        "frontend web closed :8080",
    ]
    reactor.advance(5)
    assert not reactor.getDelayedCalls()


def test_refused_clients_are_counted_not_listed(reactor: MemoryReactor) -> None:
    balancer = started(reactor)
    closes = balancer.frontends["web"].counters.closes
    closes[Kind.LIMITED] = 5
    reactor.advance(1)
    for _ in range(59):
        closes[Kind.LIMITED] += 10
        reactor.advance(1)
    reactor.advance(2)
    told = of(balancer, EventKind.CLIENTS_REFUSED)
    assert [event.facts["count"] for event in told] == [5, 590]
    assert told[0].text == "frontend web refused 5 (limited)"
    assert told[0].severity is EventSeverity.WARNING


def test_full_queues_and_lost_lines(reactor: MemoryReactor, tmp_path: Path) -> None:
    text = f"    [lbproxy]\n    access_log = {tmp_path}/access.log\n" + TEXT
    balancer = started(reactor, text)
    balancer.backends["app"].counters.queue_full = 3
    balancer.log_sinks()[0].dropped = 7
    reactor.advance(1)
    told = of(balancer, EventKind.QUEUE_FULL, EventKind.LOG_DROPPED)
    assert [event.text for event in told] == [
        "backend app rejected 3: its queue was full",
        f"access log {tmp_path}/access.log lost 7 lines",
    ]
    assert [event.facts["count"] for event in told] == [3, 7]


def test_a_second_start_does_not_tell_old_counts_again(reactor: MemoryReactor) -> None:
    balancer = started(reactor)
    balancer.watch.stopService()
    balancer.backends["app"].counters.queue_full = 3
    balancer.watch.startService()
    reactor.advance(5)
    assert not of(balancer, EventKind.QUEUE_FULL)


def test_certificates_are_told_of_as_their_days_run_out(
    reactor: MemoryReactor, tmp_path: Path
) -> None:
    certificate, key = self_signed(["www.example.com"], days=30)
    path = tmp_path / "site.pem"
    path.write_bytes(certificate + key)
    text = TEXT.replace("tcp:8080", f"tls:8443 certificates={path}")
    balancer = LoadBalancer.from_config(dedent(text), reactor=reactor)
    ends = load(str(path)).expires
    day = 0
    balancer.watch._now = lambda: ends - (30 - day) * 86400 + 60
    balancer.startService()
    days = []
    for day in range(33):  # noqa: B007
        before = len(of(balancer, EventKind.CERTIFICATE_EXPIRING))
        balancer.watch._certificates_at = -9999.0
        reactor.advance(1)
        told = of(balancer, EventKind.CERTIFICATE_EXPIRING)[before:]
        days += [event.facts["days"] for event in told]
    assert [round(day) for day in days] == [14, 7, 3, 1, 0]
    texts = [event.text for event in of(balancer, EventKind.CERTIFICATE_EXPIRING)]
    assert texts[0] == f"certificate www.example.com ({path}) expires in 13 days"
    assert texts[3] == f"certificate www.example.com ({path}) expires in 23 hours"
    assert texts[-1] == f"certificate www.example.com ({path}) has expired"


def test_purges_by_clients_are_told_of_with_their_number(reactor: MemoryReactor) -> None:
    text = TEXT.replace("listen = tcp:8080", "listen = tcp:8080\n    cache = main")
    balancer = started(reactor, f"{text}\n    [cache main]\n")
    counters = balancer.caches["main"].counters
    counters.purge_requests = 1
    reactor.advance(1)
    counters.purge_requests = 4
    reactor.advance(61)
    told = [(event.subject, event.text) for event in of(balancer, EventKind.CACHE_PURGED)]
    assert told == [
        ("main", "cache main: 1 with the method PURGE"),
        ("main", "cache main: 3 with the method PURGE"),
    ]
