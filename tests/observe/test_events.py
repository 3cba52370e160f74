"""The list of events, its subscribers, and bursts."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.observe.events import MEANING, Burst, Event, EventKind, Events, EventSeverity

DOCS = Path(__file__).resolve().parents[2] / "docs"


def add(events: Events, text: str = "x") -> Event:
    return events.add(EventKind.RELOAD, "lb.ini", text, kept=3)


def test_events_are_numbered_stamped_and_plain() -> None:
    events = Events(now=lambda: 1_800_000_000.5)
    event = events.add(
        EventKind.SERVER_DOWN, "app/a", "server app/a is down", EventSeverity.WARNING, n=1
    )
    assert event.as_dict() == {
        "number": 1, "at": 1_800_000_000.5, "kind": "server_down", "severity": "warning",
        "subject": "app/a", "text": "server app/a is down", "facts": {"n": 1},
    }  # fmt: skip
    assert json.loads(json.dumps(event.as_dict())) == event.as_dict()
    assert add(events).number == 2 == events.last


@given(st.integers(0, 40), st.integers(1, 20), st.integers(0, 45), st.integers(0, 50))
def test_since_gives_the_newest_in_order(made: int, keep: int, since: int, limit: int) -> None:
    events = Events(keep=keep)
    for _ in range(made):
        add(events)
    expected = [n for n in range(max(1, made - keep + 1), made + 1) if n > since]
    expected = expected[len(expected) - min(limit, len(expected)) :]
    assert [event.number for event in events.since(since, limit)] == expected
    assert len(events) == min(made, keep)


def test_subscribers_hear_of_events_until_they_end_it() -> None:
    events = Events()
    heard: list[int] = []
    end = events.subscribe(lambda event: heard.append(event.number))
    add(events)
    end()
    end()
    add(events)
    assert heard == [1]


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_a_subscriber_that_raises_harms_nobody(kind: type[BaseException]) -> None:
    errors: list[BaseException] = []
    events = Events(failed=errors.append)
    heard: list[int] = []

    def broken(event: Event) -> None:
        raise kind("broken")

    events.subscribe(broken)
    events.subscribe(lambda event: heard.append(event.number))
    add(events)
    assert heard == [1] and [str(error) for error in errors] == ["broken"]


def test_a_subscriber_may_add_and_end_while_it_is_told() -> None:
    events = Events()
    heard: list[int] = []

    def once(event: Event) -> None:
        end()
        heard.append(event.number)
        add(events)

    end = events.subscribe(once)
    add(events)
    assert heard == [1] and events.last == 2


def test_a_burst_is_told_at_once_and_then_summed_up() -> None:
    burst = Burst(every=60)
    assert burst.add(0, 0) == 0
    assert burst.add(3, 1) == 3
    assert [burst.add(1, t) for t in range(2, 61)] == [0] * 59
    assert burst.add(0, 61) == 59
    assert burst.add(0, 500) == 0
    assert burst.add(1, 501) == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 30)), max_size=60))
def test_a_burst_loses_nothing(steps: list[tuple[int, float]]) -> None:
    burst, now, told, times = Burst(10), 0.0, 0, []
    for count, pause in steps:
        now += pause
        found = burst.add(count, now)
        told += found
        if found:
            times.append(now)
    assert told + burst.held == sum(count for count, _ in steps)
    assert all(b - a >= 10 for a, b in pairwise(times))


def test_every_kind_has_a_meaning_and_is_documented() -> None:
    page = (DOCS / "events.rst").read_text(encoding="utf-8")
    assert set(MEANING) == set(EventKind)
    for kind, meaning in MEANING.items():
        assert re.search(rf"^``{kind.value}`` +{re.escape(meaning)}$", page, re.M), kind


def test_a_successor_continues_the_list() -> None:
    old, new = Events(now=lambda: 5.0), Events(now=lambda: 9.0)
    for number in range(3):
        old.add(EventKind.CHANGED, "app/a", f"change {number}", EventSeverity.WARNING, who="alice")
    told = [event.as_dict() for event in old.since()]
    told.append({**told[0], "kind": "of a later version", "number": 9})
    heard: list[Event] = []
    new.subscribe(heard.append)
    new.restore(json.loads(json.dumps(told)))
    assert new.since() == old.since() and new.last == 3 and not heard
    assert new.add(EventKind.UPGRADE, "", "taken over").number == 4


def test_later_events_of_the_predecessor_stand_before_our_own() -> None:
    old, new = Events(now=lambda: 5.0), Events(now=lambda: 9.0)
    old.add(EventKind.CHANGED, "app/a", "at the start")
    new.restore([event.as_dict() for event in old.since()])
    for text in ("bound", "taken over"):
        new.add(EventKind.UPGRADE, "", text)
    old.add(EventKind.SERVER_DOWN, "app/a", "meanwhile")
    new.insert([event.as_dict() for event in old.since(1)])
    assert [(event.number, event.text) for event in new.since()] == [
        (1, "at the start"),
        (2, "meanwhile"),
        (3, "bound"),
        (4, "taken over"),
    ]
    assert new.add(EventKind.RELOAD, "", "next").number == 5
    new.insert([])
    assert len(new) == 5


def test_restored_events_are_bounded() -> None:
    old, new = Events(), Events(keep=10)
    for _ in range(30):
        add(old)
    new.restore(event.as_dict() for event in old.since())
    assert [event.number for event in new.since()] == list(range(21, 31))
