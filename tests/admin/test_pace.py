"""The admin side cannot stop the traffic: its share of the time, its turns, and whose places are
kept.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from lbproxy.admin import channel
from lbproxy.admin.auth import Role
from lbproxy.admin.pace import ADDRESSES, LONGEST, AddressPaces, Pace, paces
from lbproxy.admin.reloads import Reloads
from lbproxy.admin.request import AdminRequest
from lbproxy.admin.stream import MAX_STREAMS, RESERVED_STREAMS, Follower

from .kit import TEXT, admin

READ, WRITE = "read-token-0123456789", "write-token-0123456789"


def request(path: str, method: str = "GET", token: str = "") -> bytes:
    more = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: t\r\n{more}\r\n"
    ).encode()


def test_a_share_of_the_time_and_a_burst() -> None:
    clock = Clock()
    pace = Pace(clock.seconds, share=0.1, burst=0.2)
    used = 0.0
    while clock.seconds() < 100:
        wait = pace.reserve()
        if wait > LONGEST:
            wait = 1.0
        else:
            clock.advance(wait)
            wait = 0.02  # of work
            pace.spent(wait)
            used += wait
        clock.advance(wait)
    assert 8 < used < 11
    clock.advance(100)
    assert pace.reserve() == 0.0


def test_many_at_once_do_not_come_together() -> None:
    clock = Clock()
    pace = Pace(clock.seconds, share=0.1, burst=0.1)
    for _ in range(40):
        pace.reserve()
        pace.spent(0.01)
    waits = [pace.reserve() for _ in range(5)]
    steps = [b - a for a, b in pairwise(waits)]
    assert all(step > 0.05 for step in steps), "each reserves time of its own"


def test_roles_do_not_wait_for_each_other() -> None:
    clock = Clock()
    by_role = paces(clock.seconds)
    for _ in range(10):
        by_role[Role.NONE].spent(1.0)
        by_role[Role.READ].spent(1.0)
    assert by_role[Role.NONE].reserve() > LONGEST and by_role[Role.READ].reserve() > LONGEST
    assert by_role[Role.WRITE].reserve() == 0.0


def test_one_address_has_half_of_a_role() -> None:
    clock = Clock()
    by_address = AddressPaces(clock.seconds)
    (greedy,) = by_address.of(Role.READ, "198.51.100.1")
    (other,) = by_address.of(Role.READ, "198.51.100.2")
    assert by_address.of(Role.READ, "198.51.100.1") == [greedy]
    greedy.spent(0.1 + 0.075 * 4)
    assert 3.9 < greedy.reserve() < 4.1
    assert other.reserve() == 0.0
    assert by_address.of(Role.WRITE, "198.51.100.1") == [] == by_address.of(Role.READ, "")
    for number in range(ADDRESSES + 50):
        by_address.of(Role.NONE, f"2001:db8::{number:x}")
    assert len(by_address) == ADDRESSES


def test_an_address_that_asks_too_much_costs_others_nothing(tmp_path: Path) -> None:
    with guarded(tmp_path) as asked:
        service = asked.lb.service.admin
        (pace,) = service.address_paces.of(Role.READ, "198.51.100.1")
        pace.spent(10.0)

        def status(client_ip: str) -> bytes:
            client = asked.lb.connect(asked.target, client=client_ip)
            client.send(request("whoami", token=READ))
            return client.take()[9:12]

        assert [status("198.51.100.1") for _ in range(50)] == [b"429"] * 50
        assert status("198.51.100.2") == b"200"


def test_pipelined_requests_take_a_turn_each(monkeypatch: pytest.MonkeyPatch) -> None:
    process = AdminRequest.process
    seen: list[str] = []
    with admin() as asked:

        def counted(self: AdminRequest) -> None:
            seen.append("request")
            asked.lb.reactor.callLater(0, seen.append, "turn")
            process(self)

        monkeypatch.setattr(AdminRequest, "process", counted)
        client = asked.lb.connect(asked.target)
        client.send(request("whoami") * 5)
        assert client.take().count(b"200 OK") == 5
        assert seen == ["request", "turn"] * 5
        client.send(request("whoami")[:20])
        client.send(request("whoami")[20:] + request("whoami")[:9])
        assert client.take().count(b"200 OK") == 1
        client.close()
        asked.lb.advance(0)


def test_a_connection_without_a_token_ends(tmp_path: Path) -> None:
    with guarded(tmp_path) as asked:
        client = asked.lb.connect(asked.target)
        client.send(request("whoami") * 30)
        asked.lb.advance(1)
        received = client.take()
        assert received.count(b"HTTP/1.1 401") == channel.UNKNOWN_MAX
        assert received.count(b"Connection: close") == 1 and client.finished
        again = asked.lb.connect(asked.target)
        again.send(request("whoami") + request("whoami", token=WRITE))
        assert b"alice" in again.take()


def test_pipelined_requests_whose_responses_take_turns_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = AdminRequest.process
    seen: list[str] = []

    def noted(self: AdminRequest) -> None:
        seen.append("begin")
        self.notifyFinish().addBoth(lambda _: seen.append("end"))
        process(self)

    monkeypatch.setattr(AdminRequest, "process", noted)
    with admin() as asked:
        client = asked.lb.connect(asked.target)
        client.send((request("state") + request("whoami")) * 4)
        asked.lb.advance(20)
        received = client.take()
        assert received.count(b"HTTP/1.1 200 OK") == 8
        assert seen == ["begin", "end"] * 8
        client.close()


def test_a_caller_that_asks_too_much_waits_and_is_refused_then() -> None:
    with admin() as asked:
        pace = asked.lb.service.admin.paces[Role.WRITE]
        pace.spent(0.5 + 0.3 * 2)
        client = asked.lb.connect(asked.target)
        client.send(request("whoami"))
        asked.lb.advance(1.5)
        assert client.take() == b""
        asked.lb.advance(0.6)
        assert b"200 OK" in client.take()
        client.send(request("whoami"))
        gone = asked.lb.connect(asked.target)
        pace.spent(1.0)
        gone.send(request("whoami"))
        gone.close()
        pace.spent(10.0)
        answer = asked.ask("GET", "whoami")
        assert answer.status == 429 and "too many" in answer.message
        asked.lb.advance(60)


class Slow:
    """A load balancer whose reload takes a tenth of a second."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.reloads: list[bool] = []

    def reload(self, *, dry_run: bool) -> int:
        self.reloads.append(dry_run)
        self.clock.rightNow += 0.1
        return len(self.reloads)


def test_reloads_that_come_together_are_one() -> None:
    clock = Clock()
    slow = Slow(clock)
    reloads = Reloads(slow, clock)
    got: list[Any] = []
    reloads.reload(dry_run=False).addCallback(got.append)
    assert got == [1], "the first is made at once"
    for _ in range(700):
        reloads.reload(dry_run=False).addCallback(got.append)
    left = reloads.reload(dry_run=False)
    left.addErrback(lambda _: None)
    left.cancel()
    reloads.reload(dry_run=True)
    clock.advance(0.9)
    assert len(got) == 1
    clock.advance(0.2)
    assert got == [1, *[2] * 700] and slow.reloads == [False, False, True]
    reloads.reload(dry_run=False)
    reloads.stop()
    assert not clock.getDelayedCalls()


def guarded(tmp_path: Path) -> Any:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"read grafana {READ}\nwrite alice {WRITE}\n")
    tokens.chmod(0o600)
    return admin(TEXT.replace(":interface=127.0.0.1", f"\nadmin_tokens = {tokens}"))


def test_readers_leave_places_for_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "CONNECTIONS", 12)
    monkeypatch.setattr(channel, "RESERVED", 4)
    with guarded(tmp_path) as asked:
        readers = [asked.lb.connect(asked.target) for _ in range(12)]
        for one in readers:
            one.send(request("whoami", token=READ))
            one.take()
        assert [one.finished for one in readers] == [True] * 4 + [False] * 8
        operators = [asked.lb.connect(asked.target) for _ in range(4)]
        for one in operators:
            one.send(request("whoami", token=WRITE))
            assert b"alice" in one.take()
        assert not any(one.finished for one in readers[4:])


def test_readers_leave_streams_for_operators() -> None:
    with admin() as asked:
        side = asked.lb.service.admin

        def follower() -> Follower:
            return Follower(lambda data: None, lambda: None, asked.lb.reactor.callLater)

        for _ in range(MAX_STREAMS - RESERVED_STREAMS):
            side.following(follower(), Role.READ)
        with pytest.raises(Exception, match="too many open streams"):
            side.following(follower(), Role.READ)
        side.following(follower(), Role.WRITE)
        side._followers.clear()
