"""What is said about a body that is not as it should be."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.admin.schema import enum, integer, object_, problem, string

BODY = object_(
    {"name": string("what it is called", 5)},
    {"weight": integer("a share", 0, 9), "state": enum("a state", "up", "down")},
)


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({"name": "a", "weight": 3, "state": "up"}, ""),
        ([], "the body is not an object"),
        (None, "the body is not an object"),
        ({}, "name is missing: what it is called"),
        ({"name": 3}, "name is not a string"),
        ({"name": "abcdef"}, "name has more than 5 characters"),
        ({"name": "a", "weight": "3"}, "weight is not an integer"),
        ({"name": "a", "weight": True}, "weight is not an integer"),
        ({"name": "a", "weight": 1.5}, "weight is not an integer"),
        ({"name": "a", "weight": -1}, "weight is less than 0"),
        ({"name": "a", "weight": 10**30}, "weight is more than 9"),
        ({"name": "a", "state": "left"}, "state is not one of up, down"),
        ({"name": "a", "wieght": 1}, "unknown key 'wieght'; did you mean weight?"),
        ({"name": "a", "zz": 1}, "unknown key 'zz'; known: name, weight, state"),
    ],
)
def test_problem(value: Any, wrong: str) -> None:
    assert problem(value, BODY) == wrong
