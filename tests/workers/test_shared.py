"""Counts that several processes share, and what balancers and limits make of the others'."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.balance.group import ServerGroup
from lbproxy.balance.leastconn import LeastConn
from lbproxy.balance.server import ServerState
from lbproxy.config.model import Address, ServerSpec
from lbproxy.errors import Outcome
from lbproxy.guard.connections import ConnectionLimits
from lbproxy.interfaces import Env
from lbproxy.workers.board import ADDRESSES, Board, KeyedCounts
from lbproxy.workers.shared import (
    AddressPeers,
    BoardClaims,
    exchange,
    place_name,
)


class Context:
    client_ip = "192.0.2.1"
    sni = ""
    request = None


def group(maxconn: int = 0, servers: str = "abc") -> ServerGroup:
    env = Env(now=lambda: 0.0, random=Random(1))
    made = ServerGroup(LeastConn(LeastConn.Options(), env), lambda: 0.0)
    for index, name in enumerate(servers):
        spec = ServerSpec(name, Address("tcp", f"10.0.0.{index}", 80), maxconn=maxconn)
        made.add(ServerState.from_spec("app", spec))
    return made


def places(one: ServerGroup) -> dict[str, int]:
    return {place_name(server): i for i, server in enumerate(one.servers.values())}


def test_a_board() -> None:
    board = Board.create(3)
    board.put(0, 7, 4)
    board.put(2, 7, 5)
    assert [board.others(row, 7) for row in range(3)] == [5, 9, 4]
    same = Board(board.fd, 3)
    same.put(1, 7, 1)
    assert board.others(0, 7) == 6
    board.clear(2)
    assert same.others(0, 7) == 1
    same._cells.release()
    board.close()


def test_leastconn_sees_the_others() -> None:
    board = Board.create(2)
    one, two = group(), group()
    numbers = places(one)
    for _ in range(4):
        assert one.pick(Context(), ()) is not None
    exchange(board, 0, numbers, [one])
    exchange(board, 1, numbers, [two])
    assert [server.active for server in two.servers.values()] == [
        server.active for server in one.servers.values()
    ]
    lease = two.pick(Context(), ())
    assert lease is not None
    most = max(server.active for server in one.servers.values())
    assert one.servers[lease.server.name].active < most, "not the one that is busiest elsewhere"
    board.close()


def test_a_limit_holds_and_room_elsewhere_is_room_here() -> None:
    board = Board.create(2)
    one, two = group(2, "a"), group(2, "a")
    numbers = places(one)
    leases = [one.pick(Context(), ()) for _ in range(2)]
    exchange(board, 0, numbers, [one])
    exchange(board, 1, numbers, [two])
    assert two.pick(Context(), ()) is None and not two.has_free
    free: list[int] = []
    two.on_free(lambda: free.append(1))
    for lease in leases:
        assert lease is not None
        lease.release(Outcome.OK)
    exchange(board, 0, numbers, [one])
    exchange(board, 1, numbers, [two])
    assert free and two.has_free
    assert two.servers["a"].active == 0
    board.close()


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 3),
    st.lists(
        st.tuples(st.sampled_from(["pick", "release", "elsewhere"]), st.integers(0, 5)), max_size=40
    ),
)
def test_counts_stay_right(maxconn: int, steps: list[tuple[str, int]]) -> None:
    made = group(maxconn)
    held = []
    for what, number in steps:
        if what == "pick":
            lease = made.pick(Context(), ())
            assert (lease is None) == (not any(not s.full for s in made.listed)) or lease
            if lease is not None:
                held.append(lease)
        elif what == "release" and held:
            held.pop(number % len(held)).release(Outcome.OK)
        elif what == "elsewhere":
            server = list(made.servers.values())[number % 3]
            made.set_remote_active(server, number)
        assert made.free == sum(not server.full for server in made.listed)
        assert made.balancer_errors == 0
    for server in made.servers.values():
        made.set_remote_active(server, 0)
    for lease in held:
        lease.release(Outcome.OK)
    assert all(server.active == 0 for server in made.servers.values())
    assert made.free == len(made.listed)


def test_a_limit_holds_at_the_same_moment() -> None:
    board = Board.create(2)
    groups = [group(3, "a"), group(3, "a")]
    numbers = places(groups[0])
    for row, one in enumerate(groups):
        one.claims = BoardClaims(board, row, numbers)
    held = []
    for turn in range(10):
        lease = groups[turn % 2].pick(Context(), ())
        if lease is not None:
            held.append(lease)
    assert len(held) == 3
    held.pop().release(Outcome.OK)
    assert board.others(0, 0) + board.others(1, 0) == 2
    for row, one in enumerate(groups):
        exchange(board, row, numbers, [one])
    assert groups[1].take(groups[1].servers["a"]) is not None
    assert groups[0].take(groups[0].servers["a"]) is None
    assert groups[0].pick(Context(), ()) is None
    board.close()


def test_connections_of_an_address_are_counted_across_workers() -> None:
    board = Board.create(2, ADDRESSES)
    one, two = (AddressPeers(KeyedCounts(board, row, b"secret"), "web") for row in range(2))
    other = AddressPeers(KeyedCounts(board, 1, b"secret"), "other")
    assert all(one.take("192.0.2.1", 3) for _ in range(3)), "its own count is the caller's affair"
    assert not two.take("192.0.2.1", 3)
    assert two.take("192.0.2.1", 4) and other.take("192.0.2.1", 1), "per frontend"
    one.give_back("192.0.2.1")
    assert two.take("192.0.2.1", 3)
    board.clear(1)
    assert one.take("192.0.2.1", 1), "the dead hold nothing"
    board.close()


def test_an_address_is_never_counted_twice() -> None:
    board = Board.create(2, 4)
    one, two = (AddressPeers(KeyedCounts(board, row, b"secret"), "web") for row in range(2))
    for number in range(50):
        ip = f"192.0.2.{number}"
        assert one.take(ip, 9) and not two.take(ip, 1) and two.take(ip, 2), ip
        one.give_back(ip)
        two.give_back(ip)
    board.close()


def test_few_addresses_are_taken_for_others() -> None:
    board = Board.create(2, ADDRESSES)
    one, two = (AddressPeers(KeyedCounts(board, row, b"secret"), "web") for row in range(2))
    for number in range(10_000):
        assert one.take(f"10.1.{number // 256}.{number % 256}", 1)
    wrong = sum(not two.take(f"10.2.{number // 256}.{number % 256}", 1) for number in range(10_000))
    assert wrong <= 12, "3.6 are to be expected"
    board.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 3)), max_size=60))
def test_no_address_is_over_its_limit(steps: list[tuple[int, bool, int]]) -> None:
    board = Board.create(2, ADDRESSES)
    workers = [ConnectionLimits(maxconn_per_ip=3) for _ in range(2)]
    for row, limits in enumerate(workers):
        limits.join(AddressPeers(KeyedCounts(board, row, b"s"), "web"))
    for row, comes, number in steps:
        ip = f"192.0.2.{number}"
        if comes:
            held = sum(limits.from_address(ip) for limits in workers)
            assert (workers[row].try_take(ip) is None) == (held < 3)
        elif workers[row].from_address(ip):
            workers[row].give_back(ip)
    board.close()
