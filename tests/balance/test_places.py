"""Places of servers that have a ``maxconn``: claimed among processes, taken and freed by others."""

from __future__ import annotations

import pytest

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.server import AdminState, ServerState
from lbproxy.errors import Outcome

from .tools import Context, Recorder, group_of, server


@pytest.fixture
def balancer() -> Recorder:
    return Recorder()


def test_places_that_other_processes_take_and_free(balancer: Recorder) -> None:
    a = server("a", maxconn=2)
    group = group_of(balancer, [a])
    heard: list[int] = []
    group.on_free(lambda: heard.append(group.free))
    group.set_remote_active(a, 2)
    assert (a.active, group.free, heard) == (2, 0, [])
    assert group.pick(Context()) is None
    group.set_remote_active(a, 1)
    assert (a.active, group.free, heard) == (1, 1, [1])
    group.set_remote_active(a, 0)
    assert heard == [1], "it was not full"


class Places:
    """Claims of other processes, who hold all places if ``taken``."""

    def __init__(self) -> None:
        self.taken = False
        self.seen: list[tuple[str, int]] = []

    def claim(self, group: ServerGroup, server: ServerState) -> bool:
        if self.taken:
            group.set_remote_active(server, server.maxconn - server.active)
        else:
            self.seen.append(("claimed", server.active))
        return not self.taken

    def given_back(self, server: ServerState) -> None:
        self.seen.append(("given back", server.active))


def test_places_are_claimed_and_given_back(balancer: Recorder) -> None:
    a, b = server("a", maxconn=2), server("b")
    group = group_of(balancer, [a, b])
    places = group.claims = Places()
    first = group.pick(Context())
    assert first is not None and first.server is a
    places.taken = True
    second = group.pick(Context())
    assert second is not None and second.server is b, "others hold the last place of a"
    second.release(Outcome.OK)
    assert places.seen == [("claimed", 0)], "b has no maxconn"
    group.set_remote_active(a, 0)
    first.release(Outcome.OK)
    assert places.seen == [("claimed", 0), ("given back", 0)]


def test_places_of_a_server_that_is_not_listed_do_not_count(balancer: Recorder) -> None:
    a, b = server("a", maxconn=1), server("b", maxconn=1)
    group = group_of(balancer, [a, b])
    group.set_admin("a", AdminState.MAINT)
    group.set_remote_active(a, 1)
    assert group.free == 1 and group.has_free
    group.set_remote_active(a, 0)
    assert group.free == 1


def test_the_balancer_counts_what_other_processes_hold(balancer: Recorder) -> None:
    a = server("a", maxconn=3)
    group = group_of(balancer, [a])
    group.set_remote_active(a, 2)
    assert balancer.told == ["+a=1", "+a=2"]
    group.set_remote_active(a, 1)
    assert balancer.told[2:] == ["-a=1 neutral -1"]
    group.set_remote_active(a, 1)
    assert len(balancer.told) == 3


def test_sticky_sessions_claim_a_place_too(balancer: Recorder) -> None:
    a, b = server("a", maxconn=2), server("b")
    group = group_of(balancer, [a, b])
    places = group.claims = Places()
    lease = group.take(a)
    assert lease is not None and places.seen == [("claimed", 0)]
    places.taken = True
    assert group.take(a) is None and a.active == 2, "others hold the last place"
    assert group.take(b) is not None and places.seen == [("claimed", 0)], "b has no maxconn"


@pytest.mark.parametrize("breaks", ["taken", "released"])
def test_a_balancer_that_fails_to_count_costs_no_place(balancer: Recorder, breaks: str) -> None:
    """A sticky session, and another process: each is counted in spite of it."""
    a = server("a", maxconn=2)
    group = group_of(balancer, [a])
    balancer.breaks = breaks
    lease = group.take(a)
    assert lease is not None and group.balancer_errors == (breaks == "taken")
    group.set_remote_active(a, 1)
    assert (a.active, group.free) == (2, 0)
    group.set_remote_active(a, 0)
    assert (a.active, group.free, group.balancer_errors) == (1, 1, 1 + (breaks == "taken"))
    lease.release(Outcome.OK)
    assert (a.active, group.balancer_errors) == (0, 2)
