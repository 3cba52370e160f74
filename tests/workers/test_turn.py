"""One queue of several workers: the order of their waiters, and who is woken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.workers.board import ADDRESSES, Board
from lbproxy.workers.shared import PASSED_OVER, BoardShared, BoardTurn, queue_place

PLACES = {queue_place("app"): 5}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Scene:
    def __init__(self, count: int = 3) -> None:
        self.board = Board.create(count)
        self.clock = Clock()
        self.woken: list[int] = []
        self.turns = [
            BoardTurn(self.board, row, PLACES, "app", self.woken.append, self.clock)
            for row in range(count)
        ]


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.board.close()


def test_first_come_first_served(scene: Scene) -> None:
    one, two, three = scene.turns
    assert not one.others_wait()
    first = two.ticket(0)
    two.publish(first)
    assert one.others_wait() and three.others_wait() and not two.others_wait()
    second = one.ticket(0)
    one.publish(second)
    assert first < second and two.is_first(first) and not one.is_first(second)
    three.wake_first()
    one.wake_first()
    two.wake_first()
    assert scene.woken == [1, 1], "nobody wakes itself"
    two.publish(0)
    assert one.is_first(second)


def test_classes_come_before_time(scene: Scene) -> None:
    one, two, _ = scene.turns
    early, urgent = one.ticket(0), two.ticket(-5)
    one.publish(early)
    two.publish(urgent)
    assert urgent < early and two.is_first(urgent) and not one.is_first(early)
    assert one.ticket(10**9) > one.ticket(1023) - 10**6, "as far as there is room"
    assert 0 < one.ticket(-(10**9)) < one.ticket(0) < 1 << 63


def test_at_a_tie_one_of_them_is_first(scene: Scene) -> None:
    one, two, _ = scene.turns
    one.publish(7)
    two.publish(7)
    assert one.is_first(7) and not two.is_first(7)


def test_a_waiter_that_does_not_use_its_turn_is_passed_over(scene: Scene) -> None:
    one, two, _ = scene.turns
    one.publish(one.ticket(0))
    mine = two.ticket(0)
    two.publish(mine)
    assert not two.is_first(mine)
    scene.clock.now += 10
    assert not two.is_first(mine), "there was no room meanwhile: nobody asked"
    for _ in range(10):
        scene.clock.now += PASSED_OVER / 8
        two.is_first(mine)
    assert two.is_first(mine)
    one.publish(one.ticket(-1))
    assert not two.is_first(mine), "another waiter has its own time"


def test_a_backend_without_a_place_is_alone(scene: Scene) -> None:
    scene.turns[1].publish(1)
    lone = BoardTurn(scene.board, 0, {}, "app", scene.woken.append, scene.clock)
    lone.publish(5)
    assert lone.is_first(9) and not lone.others_wait()
    lone.wake_first()
    assert scene.woken == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-2, 2)), min_size=1, max_size=12))
def test_exactly_one_worker_is_first(arrivals: list[tuple[int, int]]) -> None:
    scene = Scene()
    waiting: list[list[int]] = [[], [], []]
    for row, priority in arrivals:
        waiting[row].append(scene.turns[row].ticket(priority))
    order = []
    while any(waiting):
        heads = {row: min(tickets) for row, tickets in enumerate(waiting) if tickets}
        for row, turn in enumerate(scene.turns):
            turn.publish(heads.get(row, 0))
        first = [row for row, head in heads.items() if scene.turns[row].is_first(head)]
        assert len(first) == 1
        order.append(heads[first[0]])
        waiting[first[0]].remove(order[-1])
    assert order == sorted(order)
    scene.board.close()


def test_room_wakes_the_first_waiter(scene: Scene) -> None:
    """Through an eventfd, when a lease of a limited server is given back."""
    keys = Board.create(3, ADDRESSES)
    wakers = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3)]
    one = BoardShared(scene.board, keys, 0, {**PLACES, "app/a/:0": 1}, b"s", wakers)
    two = BoardShared(scene.board, keys, 1, PLACES, b"s", wakers)
    turn: Any = two.turn("app")
    assert two.turn("app") is turn
    one.turn("app")
    turn.publish(turn.ticket(0))

    class Server:
        backend, name, active, remote_active = "app", "a", 0, 0

        class spec:
            target = ":0"

    one.claims().given_back(Server())  # type: ignore[arg-type]
    assert os.eventfd_read(wakers[1]) == 1
    with pytest.raises(BlockingIOError):
        os.eventfd_read(wakers[0])
    assert one.claim("k", 1) and not two.claim("k", 1)
    one.release("k")
    one.add("k", 4)
    assert two.others("k") == 4
    for fd in wakers:
        os.close(fd)
    keys.close()
