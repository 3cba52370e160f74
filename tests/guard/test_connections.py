"""Connection counts: the limits hold, and everything given back leaves nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.guard.connections import ConnectionLimits, ConnectionTotal


def test_frontend_limit() -> None:
    limits = ConnectionLimits(maxconn=2)
    assert limits.try_take("1.1.1.1") is None
    assert limits.try_take("2.2.2.2") is None
    assert limits.try_take("3.3.3.3") == "maxconn 2 of the frontend"
    limits.give_back("1.1.1.1")
    assert limits.try_take("3.3.3.3") is None
    assert limits.refused == 1


def test_limit_per_address() -> None:
    limits = ConnectionLimits(maxconn_per_ip=1)
    assert limits.try_take("1.1.1.1") is None
    assert limits.try_take("1.1.1.1") == "maxconn_per_ip 1"
    assert limits.try_take("2.2.2.2") is None
    assert limits.from_address("1.1.1.1") == 1


def test_unix_clients_are_not_limited_per_address() -> None:
    limits = ConnectionLimits(maxconn=3, maxconn_per_ip=1)
    assert [limits.try_take("") for _ in range(3)] == [None] * 3
    assert limits.try_take("") is not None


class Others:
    """Peers that hold ``held`` connections of every address."""

    def __init__(self, held: int) -> None:
        self.held = held
        self.ours: dict[str, int] = {}

    def take(self, ip: str, room: int) -> bool:
        if self.held >= room:
            return False
        self.ours[ip] = self.ours.get(ip, 0) + 1
        return True

    def give_back(self, ip: str) -> None:
        self.ours[ip] -= 1


def test_a_limit_per_address_counts_what_peers_hold() -> None:
    limits = ConnectionLimits(maxconn_per_ip=3)
    assert limits.try_take("1.1.1.1") is None
    assert limits.try_take("") is None
    others = Others(1)
    limits.join(others)
    assert limits.joined and others.ours == {"1.1.1.1": 1}
    assert limits.try_take("1.1.1.1") is None
    assert limits.try_take("1.1.1.1") == "maxconn_per_ip 3 of all workers"
    assert limits.try_take("") is None
    assert others.ours == {"1.1.1.1": 2} and limits.from_address("1.1.1.1") == 2
    limits.maxconn_per_ip = 0
    assert limits.try_take("1.1.1.1") is None, "no limit, but counted"
    for ip in ("1.1.1.1", "1.1.1.1", "1.1.1.1", "", ""):
        limits.give_back(ip)
    assert others.ours == {"1.1.1.1": 0} and limits.active == 0


def test_total_is_shared() -> None:
    total = ConnectionTotal(2)
    one, two = ConnectionLimits(total=total), ConnectionLimits(total=total)
    assert one.try_take("1.1.1.1") is None
    assert two.try_take("1.1.1.1") is None
    assert two.try_take("1.1.1.1") == "maxconn 2 of lbproxy"
    one.give_back("1.1.1.1")
    assert two.try_take("1.1.1.1") is None
    assert total.active == 2


def test_limits_change_while_counts_stay() -> None:
    limits = ConnectionLimits()
    for _ in range(3):
        assert limits.try_take("1.1.1.1") is None
    limits.maxconn_per_ip = 2
    assert limits.try_take("1.1.1.1") is not None
    limits.give_back("1.1.1.1")
    assert limits.try_take("1.1.1.1") is not None
    limits.give_back("1.1.1.1")
    assert limits.try_take("1.1.1.1") is None


def test_giving_back_what_was_not_taken_is_a_bug() -> None:
    limits = ConnectionLimits()
    with pytest.raises(KeyError):
        limits.give_back("1.1.1.1")
    assert limits.active == 0


@given(
    st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=60),
    st.integers(0, 5),
    st.integers(0, 3),
    st.integers(0, 6),
)
def test_counts_stay_in_bounds_and_return_to_zero(
    ips: list[str], maxconn: int, per_ip: int, most: int
) -> None:
    limits = ConnectionLimits(maxconn, per_ip, ConnectionTotal(most))
    held = []
    for ip in ips:
        if limits.try_take(ip) is None:
            held.append(ip)
        assert limits.active == len(held) == limits.total.active
        assert not maxconn or limits.active <= maxconn
        assert not most or limits.active <= most
        assert not per_ip or all(held.count(one) <= per_ip for one in "abc")
    assert limits.refused == len(ips) - len(held)
    for ip in held:
        limits.give_back(ip)
    assert (limits.active, limits.total.active, limits.addresses) == (0, 0, 0)
