"""One node's view of the log that all nodes share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lbproxy.sharing import past
from lbproxy.sharing.log import AHEAD, MOST_OWN, REPEATED, SharedLog

NOW = 1_700_000_000.0


def _log() -> tuple[SharedLog, list[Any]]:
    heard: list[Any] = []
    return SharedLog("a", lambda topic, message: heard.append(message), lambda: NOW), heard


def _text(node: str, number: int, message: Any, at: float, topic: str = "t") -> str:
    return json.dumps([node, number, topic, message, at])


def _settle(log: SharedLog) -> int:
    return sum(1 for _ in log.settle())


def test_an_own_message_that_is_read_back_is_not_taken_in_again() -> None:
    log, heard = _log()
    log.publish("t", 1)
    log.take_in(log.unsent()[0].text)
    assert _settle(log) == 0
    assert heard == []
    assert not len(log)


@pytest.mark.parametrize("late", [False, True])
def test_what_was_said_last_holds_in_whatever_order_it_arrives(late: bool) -> None:
    log, heard = _log()
    texts = [_text("b", 1, "first", NOW + 1), _text("c", 1, "last", NOW + 2)]
    for one in reversed(texts) if late else texts:
        log.take_in(one)
    assert _settle(log) == late
    assert heard[-1] == "last"


def test_an_own_message_holds_before_what_another_node_said_later() -> None:
    log, heard = _log()
    log.publish("t", "own")
    text = log.unsent()[0].text
    for one in (_text("b", 1, "other", NOW + 1), text, text):
        log.take_in(one)
    _settle(log)
    assert heard == ["other"]


def test_what_a_node_repeats_holds_before_what_was_said() -> None:
    log, heard = _log()
    log.publish("t", "newest")
    log.take_in(_text("b", 0, "older", 0.0))
    assert _settle(log) == 1
    assert heard == ["older", "newest"]


def test_what_is_said_while_older_messages_are_repeated_holds_behind_them() -> None:
    log, heard = _log()
    log.take_in(_text("b", 1, "one", NOW + 1))
    log.take_in(_text("b", 2, "two", NOW + 2))
    log.take_in(_text("c", 0, "all", 0.0))
    steps = log.settle()
    next(steps)
    log.publish("t", "own")
    for _ in steps:
        pass
    assert heard == ["one", "two", "all", "one", "two", "own"]


def test_a_message_is_later_than_all_that_its_node_knew() -> None:
    log, _ = _log()
    log.take_in(_text("b", 1, "from the future", NOW + 60))
    log.publish("t", "own")
    assert json.loads(log.unsent()[0].text)[4] > NOW + 60


def test_a_log_that_was_lost_gets_what_was_said_lately_and_all_that_is_known() -> None:
    log, _ = _log()
    log.take_in(_text("b", 1, "old", NOW - REPEATED - 1))
    log.take_in(_text("b", 2, "late", NOW - 1))
    log.publish("t", "own")
    found = [json.loads(text) for text in log.everything([("t", "known")])]
    assert [(row[1], row[3]) for row in found] == [(2, "late"), (1, "own"), (0, "known")]


def test_what_is_known_after_dropped_messages_holds_behind_what_was_said_before() -> None:
    log, _ = _log()
    for number in range(MOST_OWN + 1):
        log.publish("t", number)
    (dropped,) = [json.loads(one) for one in log.everything([("t", "known")])][-1:]
    other, heard = _log()
    other.node = "z"
    other.publish("t", "before the outage")
    other.take_in(json.dumps(dropped))
    _settle(other)
    assert heard == ["known"]
    other.publish("t", "after")
    other.take_in(json.dumps(dropped))
    _settle(other)
    assert heard[-1] == "after"


def test_a_topic_that_is_wanted_late_is_read_in_order() -> None:
    log, heard = _log()
    log.publish("t", "own")
    log.take_in_late(_text("b", 1, "other", NOW - 1), "t")
    log.take_in_late(_text("b", 2, "elsewhere", NOW - 1, "u"), "t")
    _settle(log)
    assert heard == ["other", "own"]


def test_messages_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "MOST_BYTES", 1000)
    log, heard = _log()
    for number in range(50):
        log.take_in(_text("b", number + 1, "x" * 100, NOW + number))
    log.take_in(_text("c", 0, "older", 0.0))
    assert 1 <= _settle(log) <= 1000 // 100
    monkeypatch.setattr(past, "MOST", 3)
    log.take_in(_text("b", 51, "", NOW + 51))
    log.take_in(_text("c", 0, "older", 0.0))
    assert _settle(log) == 3
    assert heard[-1] == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "[]",
        '["b", 1, "t", "four"]',
        '["b", "1", "t", "m", 5]',
        '["b", 1, 7, "m", 5]',
        '[7, 1, "t", "m", 5]',
        '["b", 1, "t", "m", "5"]',
        '["b", 1, "t", "m", NaN]',
        '["b", 1, "t", "m", Infinity]',
        '["b", 1, "t", "m", -1]',
        f'["b", 1, "t", "m", {"9" * 400}]',
        _text("b", 1, "m", NOW + AHEAD + 1),
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_anything_else_than_a_message_is_refused(text: str | bytes) -> None:
    log, heard = _log()
    with pytest.raises(ValueError, match=r".") as caught:
        log.take_in(text)
    assert isinstance(caught.value, ValueError)
    assert heard == []
    assert log.everything([]) is not None
    log.publish("t", "own")
    assert json.loads(log.unsent()[0].text)[4] == NOW
