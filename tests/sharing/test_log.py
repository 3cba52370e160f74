"""One node's view of the log that all nodes share."""

from __future__ import annotations

import json
from typing import Any

from lbproxy.sharing.log import SharedLog


def _log() -> tuple[SharedLog, list[Any]]:
    heard: list[Any] = []
    return SharedLog("a", lambda topic, message: heard.append(message)), heard


def test_an_own_message_that_is_read_back_is_not_taken_in_again() -> None:
    log, heard = _log()
    log.publish("t", 1)
    log.take_in(log.encode(log.unsent()[0]))
    assert heard == []
    assert not len(log)


def test_an_own_message_that_arrived_twice_holds_as_at_the_other_nodes() -> None:
    log, heard = _log()
    log.publish("t", "own")
    text = log.encode(log.unsent()[0])
    for one in (text, json.dumps(["b", 1, "t", "other"]), text):
        log.take_in(one)
    assert heard[-1] == "own"


def test_what_a_node_repeats_holds_behind_what_others_said_before() -> None:
    log, heard = _log()
    log.take_in(json.dumps(["b", 1, "t", "other"]))
    log.take_in(log.whole("t", "own"))
    assert heard == ["other", "own"]


def test_an_own_message_that_waits_holds_behind_what_the_node_repeats() -> None:
    log, heard = _log()
    log.publish("t", "newest")
    log.take_in(log.whole("t", "older"))
    assert heard == ["older", "newest"]
