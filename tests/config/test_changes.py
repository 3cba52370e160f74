"""What was changed at run time: noting it, keeping it, and how it differs from the
configuration.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.config.build import parse_server
from lbproxy.config.changes import Changes
from lbproxy.config.model import Config
from lbproxy.registry import parse_config

TEXT = """\
[frontend web]
listen = tcp:8080
backend = app
[backend app]
servers =
    a 10.0.0.1:80 weight=3 maxconn=10
    b 10.0.0.2:80
"""
CONFIG: Config = parse_config(TEXT)
A, B = CONFIG.backend("app").servers
C = parse_server("c 10.0.0.3:80 weight=2")


def texts(changes: Changes) -> list[str]:
    return [one.text for one in changes.drift(CONFIG)]


def test_a_weight() -> None:
    changes = Changes()
    assert not changes
    changes.note(A, "app", "weight", 5)
    (one,) = changes.drift(CONFIG)
    assert one.text == "app/a weight 3 -> 5"
    assert one.line == "a 10.0.0.1:80 weight=5 maxconn=10"
    changes.note(A, "app", "weight", 3)
    assert not changes, "as configured is no change"


def test_states_and_limits() -> None:
    changes = Changes()
    changes.note(A, "app", "admin", "drain")
    changes.note(A, "app", "maxconn", 0)
    changes.note(B, "app", "admin", "maint")
    assert texts(changes) == [
        "app/a maxconn 10 -> 0",
        "app/a ready -> drain",
        "app/b ready -> maint",
    ]
    changes.forget("app", "a")
    changes.note(B, "app", "admin", "ready")
    assert not changes


def test_servers_come_and_go() -> None:
    changes = Changes()
    changes.note_added("app", C, configured=False)
    changes.note(C, "app", "admin", "drain")
    changes.note(A, "app", "weight", 7)
    changes.note_removed("app", "a", configured=True)
    assert texts(changes) == ["app/a removed", "app/c added", "app/c ready -> drain"]
    changes.note_added("app", A, configured=True)
    assert texts(changes) == ["app/c added", "app/c ready -> drain"], "back, and as configured"
    changes.note_removed("app", "c", configured=False)
    assert not changes


def test_replaced_by_another_of_its_name() -> None:
    changes = Changes()
    other = parse_server("a 10.9.9.9:80")
    changes.note_removed("app", "a", configured=True)
    changes.note_added("app", other, configured=False)
    (one,) = changes.drift(CONFIG)
    assert (one.text, one.running) == ("app/a added", "a 10.9.9.9:80")
    assert one.configured == "a 10.0.0.1:80 weight=3 maxconn=10"


def test_what_the_configuration_does_not_know_is_no_drift() -> None:
    changes = Changes()
    changes.note(A, "gone", "weight", 9)
    changes.note_removed("app", "zz", configured=True)
    assert texts(changes) == []


NAME = st.sampled_from(["a", "b", "c"])
STEP = st.one_of(
    st.tuples(st.just("weight"), NAME, st.integers(0, 4)),
    st.tuples(st.just("maxconn"), NAME, st.integers(0, 2)),
    st.tuples(st.just("admin"), NAME, st.sampled_from(["ready", "drain", "maint"])),
    st.tuples(st.just("add"), NAME, st.none()),
    st.tuples(st.just("remove"), NAME, st.none()),
)


@given(st.lists(STEP, max_size=12))
def test_kept_and_read_again(steps: list[Any]) -> None:
    specs = {"a": A, "b": B, "c": C}
    changes = Changes()
    for what, name, value in steps:
        configured = name != "c"
        if what == "add":
            changes.note_added("app", specs[name], configured)
        elif what == "remove":
            changes.note_removed("app", name, configured)
        else:
            changes.note(specs[name], "app", what, value)
    again = Changes.from_json(json.loads(json.dumps(changes.as_json())))
    assert again.as_json() == changes.as_json()
    assert texts(again) == texts(changes)
    for backend, name in changes.names():
        changes.forget(backend, name)
    assert not changes


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"version": 2},
        {"version": 1, "servers": []},
        {"version": 1, "servers": {"app": []}},
        {"version": 1, "servers": {"app": {"a": {}}}},
        {"version": 1, "servers": {"app": {"a": {"weight": -1}}}},
        {"version": 1, "servers": {"app": {"a": {"weight": "3"}}}},
        {"version": 1, "servers": {"app": {"a": {"weight": True}}}},
        {"version": 1, "servers": {"app": {"a": {"wieght": 3}}}},
        {"version": 1, "servers": {"app": {"a": {"admin": "down"}}}},
        {"version": 1, "added": {"app": {"a": 3}}},
        {"version": 1, "removed": {"app": "a"}},
        {"version": 1, "removed": {"app": [3]}},
    ],
)
def test_what_is_no_state(data: Any) -> None:
    with pytest.raises(ValueError):
        Changes.from_json(data)
