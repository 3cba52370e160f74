"""When operators are told: together, not too often, not at night, again when it lasts."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.observe.alerts import Alert, AlertChange, Finding
from lbproxy.observe.events import EventSeverity
from lbproxy.observe.notices import Manners, Notice, NoticeLine, Notices

NOON, NIGHT = 12 * 60, 2 * 60


def alert(subject: str = "app", severity: EventSeverity = EventSeverity.WARNING) -> Alert:
    return Alert("queue", Finding(subject, f"backend {subject} waits", severity, {"n": 1}), 5.0)


def fired(subject: str = "app", severity: EventSeverity = EventSeverity.WARNING) -> AlertChange:
    return AlertChange(True, alert(subject, severity))


def over(subject: str = "app") -> AlertChange:
    return AlertChange(False, alert(subject))


def states(notice: Notice | None) -> list[tuple[str, str]]:
    return [] if notice is None else [(line.state, line.alert.subject) for line in notice.lines]


def test_what_changes_together_is_told_together() -> None:
    notices = Notices(Manners())
    notice = notices.look(0, NOON, [fired("a"), fired("b")], [])
    assert states(notice) == [("firing", "a"), ("firing", "b")]
    assert notice is not None
    assert notice.title == "backend a waits (and 1 more)"
    assert notice.text == "firing: queue: backend a waits\nfiring: queue: backend b waits"
    assert notice.severity is EventSeverity.WARNING
    assert json.loads(json.dumps(notice.as_dict()))["alerts"][0] == {
        "state": "firing", "name": "queue", "subject": "a", "severity": "warning",
        "text": "backend a waits", "facts": {"n": 1},
    }  # fmt: skip
    assert notices.look(1, NOON, [], []) is None
    end = notices.look(2, NOON, [over("a"), over("b")], [])
    assert states(end) == [("recovered", "a"), ("recovered", "b")]
    assert end is not None and end.title.startswith("recovered: ")
    assert end.severity is EventSeverity.INFO


def test_many_are_counted() -> None:
    notice = Notices(Manners()).look(0, NOON, [fired(str(n)) for n in range(500)], [])
    assert notice is not None and len(notice.lines) == 20 and notice.more == 480
    assert notice.title == "backend 0 waits (and 499 more)"
    assert notice.text.endswith("\nand 480 more")


def test_a_storm_is_a_few_notices_and_nothing_is_lost() -> None:
    notices = Notices(Manners(most=3))
    told: set[str] = set()
    sent = []
    for second in range(120):
        notice = notices.look(second, NOON, [fired(f"s{second}")] if second < 100 else [], [])
        if notice is not None:
            sent.append(second)
            told |= {line.alert.subject for line in notice.lines}
            assert len(notice.lines) + notice.more <= 60
    assert sent == [0, 1, 2, 60, 61, 62]
    assert len(notices._pending) + 3 + 58 + 1 + 1 == 100


def test_what_is_over_before_it_was_told_is_not_told() -> None:
    notices = Notices(Manners(most=1))
    notices.look(0, NOON, [fired("first")], [])
    assert notices.look(1, NOON, [fired("second")], []) is None
    assert notices.look(2, NOON, [over("second")], []) is None
    assert notices.look(61, NOON, [], []) is None


def test_quiet_times_are_for_warnings() -> None:
    notices = Notices(Manners(quiet=((22 * 60, 6 * 60),)))
    assert notices.look(0, NIGHT, [fired("w"), fired("gone")], []) is None
    assert states(notices.look(1, NIGHT, [fired("e", EventSeverity.ERROR)], [])) == [
        ("firing", "e")
    ]
    assert notices.look(2, NIGHT, [over("gone")], []) is None
    assert states(notices.look(3, 6 * 60, [], [])) == [("firing", "w")]
    assert notices.look(4, 22 * 60, [over("w")], []) is None
    assert states(notices.look(5, NOON, [], [])) == [("recovered", "w")]


def test_an_alert_that_lasts_is_told_again() -> None:
    notices = Notices(Manners(repeat=100))
    notices.look(0, NOON, [fired()], [alert()])
    found = [t for t in range(1, 350) if states(notices.look(t, NOON, [], [alert()]))]
    assert found == [100, 200, 300]
    silent = Notices(Manners(repeat=0))
    silent.look(0, NOON, [fired()], [alert()])
    assert not any(silent.look(t, NOON, [], [alert()]) for t in range(1, 100_000, 1000))


def test_recoveries_may_be_left_out() -> None:
    notices = Notices(Manners(recovery=False, repeat=10))
    notices.look(0, NOON, [fired()], [alert()])
    assert notices.look(1, NOON, [over()], []) is None
    assert states(notices.look(2, NOON, [fired()], [alert()])) == [("firing", "app")]


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.booleans(), st.booleans(), st.integers(0, 40)),
        max_size=80,
    )
)
def test_told_in_turn_and_within_the_rate(steps: list[tuple[str, bool, bool, int]]) -> None:
    """Every recovery follows a firing that was told; no minute has more than three notices."""
    notices = Notices(Manners(quiet=((0, 60),), most=3, repeat=50))
    on: set[str] = set()
    told: set[str] = set()
    sent: list[int] = []
    now = 0
    for subject, severe, quiet, pause in steps:
        now += pause
        change = over(subject) if subject in on else fired(
            subject, EventSeverity.ERROR if severe else EventSeverity.WARNING
        )  # fmt: skip
        on ^= {subject}
        notice = notices.look(now, 30 if quiet else NOON, [change], [alert(one) for one in on])
        if notice is None:
            continue
        sent.append(now)
        for state, name in states(notice):
            assert state == "firing" or name in told
            (told.discard if state == "recovered" else told.add)(name)
    assert all(later - first >= 60 for first, later in zip(sent, sent[3:], strict=False))


def test_lines_are_plain() -> None:
    assert NoticeLine("firing", alert()).as_dict()["facts"] == {"n": 1}
