"""The laws of the limit that follows the response time."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.health.gradient import SAMPLES, Gradient


class Servers:
    """``room`` requests at once, ``seconds`` each, the others wait; ``rate`` requests a second."""

    def __init__(self, gradient: Gradient, room: int, seconds: float) -> None:
        self.gradient = gradient
        self.room, self.seconds = room, seconds
        self.now = 0.0
        self.next = 0.0
        self.served = self.refused = 0
        self.times: list[float] = []
        self._busy: list[float] = []  # when the places are free again
        self._running: list[tuple[float, float]] = []  # end and begin

    def run(self, rate: float, seconds: float) -> None:
        self.served = self.refused = 0
        self.times = []
        end = self.now + seconds
        self.next = max(self.next, self.now)
        while self.next < end:
            self._end_until(self.next)
            self.now = self.next
            if self.gradient.fits(0):
                self._begin()
            else:
                self.refused += 1
            self.next += 1 / rate
        self._end_until(end)
        self.now = end

    def _begin(self) -> None:
        self.gradient.begin()
        while len(self._busy) < self.room:
            heapq.heappush(self._busy, 0.0)
        done = max(self.now, heapq.heappop(self._busy)) + self.seconds
        heapq.heappush(self._busy, done)
        heapq.heappush(self._running, (done, self.now))

    def _end_until(self, when: float) -> None:
        while self._running and self._running[0][0] <= when:
            done, begun = heapq.heappop(self._running)
            self.gradient.end()
            self.gradient.sample(done - begun, done)
            self.served += 1
            self.times.append(done - begun)


@settings(max_examples=12)
@given(st.integers(5, 20), st.sampled_from((0.05, 0.2)), st.sampled_from((1.5, 3.0)))
def test_under_overload_responses_stay_fast_and_the_servers_busy(
    room: int, seconds: float, load: float
) -> None:
    capacity = room / seconds
    servers = Servers(Gradient(3, 1000, 1.5), room, seconds)
    servers.run(capacity / 4, 20)  # what is normal becomes known
    servers.run(capacity * load, 40)
    servers.run(capacity * load, 20)
    mean = sum(servers.times) / len(servers.times)
    extra = servers.gradient.limit**0.5 / room  # by the places that let it find more room
    assert mean <= seconds * (1.5 + extra) * 1.25
    assert servers.served >= 0.75 * capacity * 20
    assert servers.refused > 0


def test_without_it_the_queue_of_the_same_servers_has_no_end() -> None:
    servers = Servers(Gradient(3, 10**9, 1e9), 10, 0.05)
    servers.run(400, 30)
    assert servers.times[-1] > 10 * 0.05


def test_traffic_that_the_servers_can_serve_is_not_refused() -> None:
    servers = Servers(Gradient(3, 1000, 1.5), 50, 0.05)
    servers.run(300, 30)
    assert servers.refused == 0


def test_servers_that_became_slow_by_themselves_are_used_again() -> None:
    """The base is measured anew while requests are refused, so the limit does not stay low."""
    servers = Servers(Gradient(3, 1000, 1.5), 40, 0.02)
    servers.run(200, 20)
    servers.seconds = 0.1
    servers.run(200, 90)
    servers.run(200, 20)
    assert servers.refused < 0.05 * 200 * 20


def test_an_overload_that_lasts_does_not_become_normal() -> None:
    servers = Servers(Gradient(3, 1000, 1.5), 10, 0.05)
    servers.run(50, 20)
    servers.run(400, 200)
    servers.run(400, 20)
    assert sum(servers.times) / len(servers.times) < 0.2


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 100)), max_size=200),
    st.integers(1, 20),
    st.floats(1.0, 5.0),
)
def test_the_limit_stays_within_its_bounds(
    samples: list[tuple[float, int]], least: int, tolerance: float
) -> None:
    gradient = Gradient(least, 50, tolerance)
    now = 0.0
    for seconds, active in samples:
        while gradient.active < active:
            gradient.begin()
        while gradient.active > active:
            gradient.end()
        now += 0.1
        gradient.sample(seconds, now)
        assert least <= gradient.limit <= 50


@given(st.integers(0, 200), st.floats(1, 200), st.integers(-20, 20), st.integers(0, 20))
def test_a_better_priority_is_never_refused_before_a_worse_one(
    active: int, limit: float, priority: int, worse: int
) -> None:
    gradient = Gradient(1, 1000, 1.5)
    gradient.limit, gradient.active = limit, active
    if gradient.fits(priority + worse):
        assert gradient.fits(priority)


@given(st.lists(st.floats(0.001, 1), min_size=10, max_size=100))
def test_it_does_not_grow_while_less_than_half_is_used(times: list[float]) -> None:
    gradient = Gradient(3, 1000, 1.5)
    now, before = 0.0, gradient.limit
    gradient.begin()
    for seconds in times:
        now += 0.1
        gradient.sample(seconds, now)
        assert gradient.limit <= before
        before = gradient.limit


def test_slow_answers_with_room_to_spare_only_lower_the_limit() -> None:
    """One request at a time says nothing about more at once."""
    gradient = Gradient(1, 100, 1.5)
    now = 0.0
    before = gradient.limit
    for seconds in (0.1, 0.1, 5.0, 5.0):
        for _ in range(SAMPLES):
            gradient.begin()
            now += seconds
            gradient.end()
            gradient.sample(seconds, now)
        assert gradient.limit <= before
        before = gradient.limit
    assert gradient.recent == 5.0 and 1 < gradient.limit < 20
