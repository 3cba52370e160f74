"""Handshakes of clients have places: who waits, who makes room, and that no place is lost."""

from __future__ import annotations

import random

import pytest
from twisted.internet.task import Clock

from lbproxy.net.descriptors import handshake_bound
from lbproxy.net.handshakes import GRACE_S, SAMPLE, Handshakes, PlacedHandshake
from lbproxy.net.timers import TimerWheel


class Places:
    """Handshakes with ``most`` places, on a clock."""

    def __init__(self, most: int) -> None:
        self.clock = Clock()
        self.all = Handshakes(TimerWheel(self.clock))
        self.all.most = most
        self.began: list[str] = []
        self.gone: list[str] = []

    def come(self, name: str) -> One:
        one = One(self, name)
        self.all.take(one)
        return one

    def step(self, *names: str) -> list[One]:
        """Handshakes that have begun and wait for their clients."""
        made = [self.come(name) for name in names]
        for one in made:
            self.all.stepped(one)
        return made

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)


class One(PlacedHandshake):
    """Says what happens to it."""

    def __init__(self, places: Places, name: str) -> None:
        super().__init__()
        self.places = places
        self.name = name
        self.complete = True

    def place_free(self) -> None:
        self.places.began.append(self.name)

    def give_way(self) -> None:
        self.places.gone.append(self.name)
        self.places.all.leave(self)

    def answered(self) -> bool:
        return self.complete


def test_without_a_limit_all_begin() -> None:
    places = Places(0)
    places.step(*"abcdefgh")
    assert places.began == list("abcdefgh")
    assert (places.all.active, places.all.waiting) == (8, 0)


def test_newcomers_begin_in_order_as_places_become_free() -> None:
    places = Places(2)
    a, b = places.step("a", "b")
    for name in "cde":
        places.come(name)
    assert (places.began, places.all.waiting) == (["a", "b"], 3)
    places.all.leave(a)
    assert places.began == ["a", "b", "c"]
    places.all.leave(b)
    assert places.began == ["a", "b", "c", "d"]
    assert (places.all.active, places.all.waiting, places.gone) == (2, 1, [])


def test_a_newcomer_who_leaves_gives_up_nothing_but_its_turn() -> None:
    places = Places(1)
    (a,) = places.step("a")
    b = places.come("b")
    places.come("c")
    places.all.leave(b)
    places.all.leave(b)
    places.all.leave(a)
    assert (places.began, places.all.active, places.all.waiting) == (["a", "c"], 1, 0)


def test_the_oldest_makes_room_once_it_has_had_its_time() -> None:
    places = Places(2)
    places.step("a")
    places.pass_time(0.5)
    places.step("b")
    places.come("c")
    places.pass_time(GRACE_S - 0.6)
    assert not places.gone
    places.pass_time(0.3)
    assert (places.gone, places.began) == (["a"], ["a", "b", "c"])
    places.pass_time(5)  # nobody waits any more
    assert places.gone == ["a"] and places.all.evicted == 1


def test_one_with_an_incomplete_hello_goes_before_older_ones() -> None:
    places = Places(3)
    c = places.step("a", "b", "c")[2]
    c.complete = False
    places.pass_time(GRACE_S)
    places.come("d")
    assert places.gone == ["c"]
    places.come("e")
    assert places.gone == ["c", "a"]


def test_what_waits_for_lbproxy_stays() -> None:
    places = Places(2)
    a, _ = places.step("a", "b")
    a.works = True
    places.pass_time(GRACE_S)
    places.come("c")
    assert places.gone == ["b"]
    places.all.stepped(a)
    places.come("d")
    assert places.gone == ["b", "a"]


def test_one_that_has_not_begun_its_work_stays() -> None:
    places = Places(1)
    places.come("a")
    places.come("b")
    places.pass_time(60)
    assert (places.gone, places.all.waiting) == ([], 1)


def test_small_steps_buy_no_time() -> None:
    places = Places(1)
    (a,) = places.step("a")
    places.come("b")
    for _ in range(30):
        places.pass_time(0.05)
        places.all.stepped(a)
    assert places.gone == ["a"]


def test_a_look_is_bounded() -> None:
    places = Places(SAMPLE + 1)
    made = places.step(*map(str, range(SAMPLE + 1)))
    for one in made[:-1]:
        one.works = True
    places.pass_time(GRACE_S)
    places.come("new")
    assert not places.gone


def test_a_higher_limit_holds_at_the_next_look() -> None:
    places = Places(1)
    places.come("a")
    places.come("b")
    places.all.most = 2
    places.pass_time(0.2)
    assert places.began == ["a", "b"]


@pytest.mark.parametrize("seed", range(8))
def test_any_history_keeps_the_books(seed: int) -> None:
    chance = random.Random(seed)
    places = Places(5)
    alive: list[One] = []
    for number in range(400):
        deed = chance.randrange(4)
        if deed == 0 or not alive:
            alive.append(places.come(str(number)))
        elif deed == 1:
            places.all.leave(alive.pop(chance.randrange(len(alive))))
        elif deed == 2:
            one = chance.choice(alive)
            if one.name in places.began and one.name not in places.gone:
                one.works = chance.random() < 0.2
                if not one.works:
                    places.all.stepped(one)
        else:
            places.pass_time(chance.random())
        alive = [one for one in alive if one.name not in places.gone]
        assert places.all.active <= 5
        assert places.all.active + places.all.waiting == len(alive)
        assert places.all.active == 5 or not places.all.waiting
    for one in alive:
        places.all.leave(one)
    assert (places.all.active, places.all.waiting) == (0, 0)
    assert len(places.gone) == places.all.evicted


@pytest.mark.parametrize(
    ("maxconn", "bound"), [(0, 2048), (16, 64), (800, 100), (10_000, 1250), (1_000_000, 2048)]
)
def test_the_default(maxconn: int, bound: int) -> None:
    assert handshake_bound(maxconn) == bound
