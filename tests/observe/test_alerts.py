"""The rules of the alerts, second by second on an explicit clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.observe.alerts import (
    CALM,
    RULES,
    AlertChange,
    AlertLimits,
    Alerts,
    BackendSample,
    CacheSample,
    FrontendSample,
    Sample,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"


class World:
    """Rules and a clock; ``step(n, make)`` gives them ``n`` samples, a second apart."""

    def __init__(self, *names: str, **limits: AlertLimits) -> None:
        self.alerts = Alerts({name: RULES[name].defaults for name in names} | limits)
        self.now = 0.0
        self.log: list[tuple[float, bool, str, str]] = []

    def step(self, count: int, make: Callable[[float], dict[str, Any]] | None = None) -> None:
        for _ in range(count):
            self.now += 1
            sample = Sample(at=self.now, **(make(self.now) if make is not None else {}))
            for change in self.alerts.look(sample):
                self.log.append(
                    (self.now, change.fired, change.alert.name, change.alert.finding.text)
                )

    @property
    def said(self) -> list[tuple[float, bool]]:
        return [(at, fired) for at, fired, _, _ in self.log]


def frontend(**facts: Any) -> dict[str, Any]:
    return {"frontends": {"web": FrontendSample(**facts)}}


def backend(**facts: Any) -> dict[str, Any]:
    return {"backends": {"app": BackendSample(**facts)}}


def test_an_error_ratio_must_last_and_must_be_gone_for_a_while() -> None:
    world = World("error_ratio")
    done = failed = 0

    def traffic(errors: int) -> Callable[[float], dict[str, Any]]:
        def make(now: float) -> dict[str, Any]:
            nonlocal done, failed
            done += 10
            failed += errors
            return frontend(done=done, failed=failed)

        return make

    world.step(120, traffic(0))
    assert not world.log
    world.step(50, traffic(2))
    ((at, fired, name, text),) = world.log
    assert (at, fired, name) == (120 + 16 + 30, True, "error_ratio")  # 5% of the minute, then 30 s
    assert text == "frontend web: 15.3% of 600 requests failed in the last minute", text
    world.step(200, traffic(0))
    assert [fired for _, fired in world.said] == [True, False]
    assert re.fullmatch(r"frontend web: [0-5]\.\d% of 600 requests failed .*", world.log[1][3])
    assert world.alerts.active == []


def test_a_short_burst_of_errors_is_no_alert() -> None:
    world = World("error_ratio")
    world.step(60, lambda now: frontend(done=int(now) * 100, failed=0))
    world.step(10, lambda now: frontend(done=int(now) * 100, failed=int(now - 60) * 4))
    world.step(100, lambda now: frontend(done=int(now) * 100, failed=40))
    assert not world.log


def test_few_requests_are_not_judged() -> None:
    world = World("error_ratio")
    world.step(300, lambda now: frontend(done=int(now) // 2, failed=int(now) // 2))
    assert not world.log


def test_traffic_before_the_first_sample_is_not_counted() -> None:
    world = World("error_ratio", "sent_away", "log_drops")
    world.step(
        200,
        lambda now: {
            "frontends": {"web": FrontendSample(done=9000, failed=9000)},
            "backends": {"app": BackendSample(sent_away=99)},
            "logs": {"a.log": 99},
        },
    )
    assert not world.log


def test_a_frontend_that_comes_with_a_reload_begins_from_its_own_zero() -> None:
    world = World("error_ratio")
    world.step(100, lambda now: frontend(done=int(now) * 10))
    world.step(100, lambda now: {"frontends": {"new": FrontendSample(done=500, failed=500)}})
    assert not world.log


def latency(world: World, seconds: int, mean: Callable[[], float], rate: int = 10) -> None:
    def make(now: float) -> dict[str, Any]:
        world.timed = getattr(world, "timed", 0) + rate  # type: ignore[attr-defined]
        total = getattr(world, "seconds", 0.0) + rate * mean()
        world.seconds = total  # type: ignore[attr-defined]
        return backend(timed=world.timed, seconds=total)  # type: ignore[attr-defined]

    world.step(seconds, make)


def noisy(centre: float, spread: float, seed: int = 1) -> Callable[[], float]:
    random = Random(seed)
    return lambda: max(0.001, random.gauss(centre, spread))


def test_latency_is_compared_with_what_is_normal() -> None:
    world = World("latency")
    latency(world, 600, noisy(0.050, 0.010))
    assert not world.log
    latency(world, 60, noisy(0.300, 0.020))
    ((at, fired, name, text),) = world.log
    assert fired and name == "latency" and 620 < at < 650
    assert re.fullmatch(r"backend app answers in 3\d\d ms; normal is [4-6]\d ms", text), text
    latency(world, 120, noisy(0.050, 0.010))
    assert [fired for _, fired in world.said] == [True, False]
    assert re.match(r"backend app answers in [4-6]\d ms; normal", world.log[1][3])


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_slow_drift_are_no_alert(seed: int) -> None:
    world = World("latency")
    base = noisy(0.050, 0.040, seed)
    latency(world, 3600, base)
    drift = iter([0.050 + 0.00002 * n for n in range(7200)])
    latency(world, 7200, lambda: next(drift) * base() / 0.050)
    assert not world.log


def test_a_fast_backend_may_double_within_20_ms() -> None:
    world = World("latency")
    latency(world, 600, lambda: 0.001)
    latency(world, 600, lambda: 0.015)
    assert not world.log


def test_a_latency_that_stays_becomes_normal() -> None:
    world = World("latency")
    latency(world, 600, noisy(0.050, 0.005))
    latency(world, 4 * 3600, noisy(0.200, 0.005))
    assert [fired for _, fired in world.said] == [True, False]


def test_an_alert_about_latency_ends_when_the_traffic_does() -> None:
    world = World("latency")
    latency(world, 600, noisy(0.050, 0.005))
    latency(world, 60, noisy(0.900, 0.005))
    latency(world, 200, lambda: 0.0, rate=0)
    assert [fired for _, fired in world.said] == [True, False]


def hit_ratio(world: World, seconds: int, share: float, rate: int = 20) -> None:
    def make(now: float) -> dict[str, Any]:
        world.asked = getattr(world, "asked", 0) + rate  # type: ignore[attr-defined]
        world.answered = getattr(world, "answered", 0.0) + rate * share  # type: ignore[attr-defined]
        sample = CacheSample(world.asked, int(world.answered))  # type: ignore[attr-defined]
        return {"caches": {"main": sample}}

    world.step(seconds, make)


def test_a_falling_hit_ratio_is_compared_with_what_is_normal() -> None:
    world = World("hit_ratio")
    hit_ratio(world, 600, 0.8)
    hit_ratio(world, 120, 0.65)
    assert not world.log, "within the limit"
    hit_ratio(world, 120, 0.3)
    ((at, fired, name, text),) = world.log
    assert fired and name == "hit_ratio" and 780 <= at < 800
    assert text == "cache main answers 30% of its requests; normal is 76%"
    hit_ratio(world, 120, 0.8)
    assert [fired for _, fired in world.said] == [True, False]
    assert world.log[1][3] == "cache main answers 80% of its requests; normal is 76%"
    hit_ratio(world, 120, 0.3)
    hit_ratio(world, 180, 0.3, rate=0)
    assert [row[3] for row in world.log[3:]] == [
        "cache main had fewer than 50 requests in the last minute"
    ]


def test_a_cache_that_few_ask_has_no_alert() -> None:
    world = World(hit_ratio=AlertLimits(0.2, 60, 100))
    hit_ratio(world, 600, 0.8)
    hit_ratio(world, 600, 0.0, rate=1)
    assert not world.log


def test_counters_that_begin_anew_teach_nothing() -> None:
    world = World("latency")
    latency(world, 600, noisy(0.050, 0.005))
    world.timed, world.seconds = 0, 0.0  # type: ignore[attr-defined]
    latency(world, 600, noisy(0.050, 0.005))
    assert not world.log


def test_a_backend_without_servers() -> None:
    world = World("backend_empty", "backend_weak")
    world.step(10, lambda now: backend(wanted=3, up=3))
    world.step(2, lambda now: backend(wanted=3, up=0, usable=False))
    assert not world.log
    world.step(10, lambda now: backend(wanted=3, up=0, usable=False))
    assert world.log == [(13.0, True, "backend_empty", "backend app has no server")]
    world.step(40, lambda now: backend(wanted=3, up=3))
    assert world.log[1][:3] == (22 + CALM, False, "backend_empty")
    assert len(world.log) == 2


def test_flapping_is_one_alert() -> None:
    world = World("backend_empty")
    for _ in range(10):
        world.step(5, lambda now: backend(usable=False))
        world.step(20, lambda now: backend(usable=True))
    assert world.said == [(3.0, True)]


def test_too_few_servers() -> None:
    world = World("backend_weak")
    world.step(100, lambda now: backend(wanted=4, up=2))
    assert not world.log
    world.step(40, lambda now: backend(wanted=4, up=1))
    assert [row[3] for row in world.log] == ["backend app: 1 of 4 servers are up"]


ONE_SAMPLE: list[tuple[str, dict[str, Any], str]] = [
    ("queue", backend(waiting=51, queue=100),
     "backend app: 51 of 100 places in "
        "the queue are taken"),
    ("connections", {"active": 91, "maxconn": 100}, "lbproxy has 91 of at most 100 connections"),
    (
        "connections",
        frontend(active=10, maxconn=10),
        "frontend web has 10 of at most 10 connections",
    ),
    ("certificate", {"certificates": {"x.org": 86400.0 * 2}},
        "certificate x.org expires in 2.0 days"),
    ("certificate", {"certificates": {"x.org": -1.0}}, "certificate x.org has expired"),
    ("list", {"lists": {"bad": "line 3"}}, "list bad is not up to date: line 3"),
    ("lag", {"lag": 0.75}, "the reactor of lbproxy is 750 ms late: the process is overloaded"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "text"), ONE_SAMPLE)
def test_what_one_sample_shows(name: str, facts: dict[str, Any], text: str) -> None:
    world = World(name)
    world.step(int(RULES[name].defaults.after), lambda now: facts)
    assert not world.log or RULES[name].defaults.after == 0
    world.step(1, lambda now: facts)
    assert [row[1:] for row in world.log] == [(True, name, text)]
    world.step(100)
    assert [fired for _, fired in world.said] == [True, False]


ENDS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("queue", backend(waiting=51, queue=100), backend(waiting=3, queue=100),
        "backend app: 3 of 100 places in the queue are taken"),
    ("connections", {"active": 91, "maxconn": 100}, {"active": 7, "maxconn": 100},
        "lbproxy has 7 of at most 100 connections"),
    ("connections", {"active": 91, "maxconn": 100}, {"active": 91, "maxconn": 0},
        "lbproxy has 91 connections"),
    ("certificate", {"certificates": {"x.org": -1.0}}, {"certificates": {"x.org": 86400.0 * 90}},
        "certificate x.org expires in 90.0 days"),
    ("list", {"lists": {"bad": "line 3"}}, {"lists": {"bad": ""}}, "list bad is up to date"),
    ("lag", {"lag": 0.75}, {"lag": 0.002}, "the reactor of lbproxy is 2 ms late"),
    ("shared_store", {"shared_error": "refused"}, {}, "shared store responds"),
    ("backend_empty", backend(usable=False, wanted=2), backend(up=1, wanted=2),
        "backend app: 1 of 2 servers are up"),
    ("backend_weak", backend(up=1, wanted=4), backend(up=3, wanted=4),
        "backend app: 3 of 4 servers are up"),
    ("attack", frontend(worst_client=("203.0.113.9", 600)), frontend(worst_client=("::1", 5)),
        "frontend web: fewer than 600 bad requests and refused connections from 203.0.113.9"
        " in a minute"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "high", "calm", "text"), ENDS)
def test_a_recovery_has_the_figures_of_its_time(
    name: str, high: dict[str, Any], calm: dict[str, Any], text: str
) -> None:
    world = World(name)
    world.step(40, lambda now: high)
    world.step(100, lambda now: calm)
    assert [row[1] for row in world.log] == [True, False]
    assert world.log[1][3] == text


AT_THE_LIMIT = [
    ("queue", backend(waiting=50, queue=100)),
    ("queue", backend(waiting=0, queue=0)),
    ("connections", {"active": 90, "maxconn": 100}),
    ("connections", {"active": 1000, "maxconn": 0}),
    ("certificate", {"certificates": {"x.org": 86400.0 * 14}}),
    ("lag", {"lag": 0.5}),
]


@pytest.mark.parametrize(("name", "facts"), AT_THE_LIMIT)
def test_what_is_not_over_the_limit(name: str, facts: dict[str, Any]) -> None:
    world = World(name)
    world.step(200, lambda now: facts)
    assert not world.log


def test_sums_over_a_minute() -> None:
    world = World("sent_away", "log_drops")
    world.step(5, lambda now: {**backend(sent_away=5), "logs": {"a.log": 7}})
    world.step(100, lambda now: {**backend(sent_away=8), "logs": {"a.log": 9}})
    assert [row for row in world.log if row[1]] == [
        (6.0, True, "sent_away",
            "backend app rejected 3 in the last minute: its servers and queue are full"),
        (6.0, True, "log_drops", "access log a.log lost 2 lines in the last minute"),
    ]  # fmt: skip
    assert [row[2:] for row in world.log if not row[1]] == [
        ("sent_away", "backend app rejected 0 in the last minute"),
        ("log_drops", "access log a.log lost 0 lines in the last minute"),
    ]


def test_happenings_last_five_minutes() -> None:
    world = World("worker_died", "reload_refused")
    world.step(10, lambda now: {"happened": {"worker_died": 4}})
    world.step(400, lambda now: {"happened": {"worker_died": 6, "server_up": 9}})
    assert world.log[0] == (11.0, True, "worker_died", "worker processes died: 2")
    assert world.log[1][:2] == (310 + CALM, False)
    assert world.log[1][3] == "worker processes died: 0 in the last five minutes"


def test_a_jump_in_refusals() -> None:
    world = World("attack")
    bad = 0

    def rate(count: int) -> Callable[[float], dict[str, Any]]:
        def make(now: float) -> dict[str, Any]:
            nonlocal bad
            bad += count
            return frontend(bad=bad)

        return make

    world.step(600, rate(2))
    world.step(60, rate(15))  # 7 times as many: a busy hour
    assert not world.log
    world.step(60, rate(400))
    ((_, fired, name, text),) = world.log
    assert fired and name == "attack" and "400 bad requests and refused connections" in text
    world.step(120, rate(2))
    assert [fired for _, fired in world.said] == [True, False]
    assert world.log[1][3].startswith("frontend web: 2 bad requests and refused connections a sec")


def test_one_address_that_does_it_all() -> None:
    world = World("attack")
    world.step(30, lambda now: frontend(worst_client=("203.0.113.9", 599)))
    assert not world.log
    world.step(30, lambda now: frontend(worst_client=("203.0.113.9", 600)))
    assert [row[3] for row in world.log] == [
        "frontend web: 600 bad requests and refused connections from 203.0.113.9 in a minute"
    ]


def test_an_alert_that_lasts_is_shown_as_it_is_now() -> None:
    world = World("queue")
    world.step(20, lambda now: backend(waiting=60, queue=100))
    world.step(5, lambda now: backend(waiting=99, queue=100))
    (alert,) = world.alerts.active
    assert alert.finding.facts == {"waiting": 99, "queue": 100} and alert.since == 11


def test_other_limits_and_none() -> None:
    world = World(queue=AlertLimits(0.9, 0))
    world.step(3, lambda now: backend(waiting=60, queue=100))
    assert not world.log
    world.step(1, lambda now: backend(waiting=91, queue=100))
    assert world.said == [(4.0, True)]
    silent = World()
    silent.step(5, lambda now: backend(usable=False))
    assert not silent.log


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), st.floats(-1, 2), st.integers(0, 2000)),
        max_size=150,
    )
)
def test_each_alert_fires_and_recovers_in_turn(steps: list[tuple[bool, int, float, int]]) -> None:
    alerts = Alerts({name: rule.defaults for name, rule in RULES.items()})
    open_: set[tuple[str, str]] = set()
    now = 0.0

    def follow(changes: list[AlertChange]) -> None:
        for change in changes:
            key = (change.alert.name, change.alert.subject)
            assert (key in open_) is not change.fired
            (open_.add if change.fired else open_.remove)(key)

    for usable, up, lag, count in steps:
        now += 1
        follow(
            alerts.look(
                Sample(
                    at=now,
                    frontends={
                        "web": FrontendSample(count, count // 2, count, up, 3, ("x", count))
                    },
                    backends={"app": BackendSample(3, up, usable, up, 3, count, count, lag + 1)},
                    active=up,
                    maxconn=3,
                    certificates={"c": lag},
                    logs={"l": count},
                    lag=lag,
                    happened={"worker_died": count},
                    caches={"main": CacheSample(count, count // 3)},
                )
            )
        )
        assert {(alert.name, alert.subject) for alert in alerts.active} == open_
    for _ in range(400):
        now += 1
        follow(alerts.look(Sample(at=now)))
    assert not open_ and not alerts._history.baselines


def test_the_history_is_bounded() -> None:
    world = World(*RULES)
    world.step(1000)
    assert len(world.alerts._history._samples) <= 302


def test_the_runbook_explains_every_alert() -> None:
    page = (DOCS / "runbook.rst").read_text(encoding="utf-8")
    headings = re.findall(r"^(\w+)\n[~-]+$", page, re.M)
    assert [name for name in headings if name in RULES] == list(RULES)
    for name in RULES:
        part = page.split(f"\n{name}\n")[1]
        assert "What it means" in part and "What to do" in part
