"""Failures of a server while several requests wait for one response."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.testing import LB, Response
from lbproxy.testing.origin import Answer

TEXT = """
[cache main]
set_cookie = strip
[frontend web]
listen = tcp:80
cache = main
backend = app
[backend app]
servers = a 10.0.0.1:80
retries = 0
"""


def together(answer: Any, turns: int = 1) -> tuple[list[Response], int]:
    """The responses to five requests at a time, and how many the server got."""
    with LB.from_config(TEXT) as lb:
        origin = lb.origin("a", "10.0.0.1:80", answer)
        found: list[Response] = []
        for _ in range(turns):
            waiting = [lb.begin("GET", "http://h/a") for _ in range(5)]
            found += [one.wait(30) for one in waiting]
        return found, len(origin.requests)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", b"failed", b"x" * 300_000])
def test_a_failure_is_for_all_who_wait_for_it(status: int, body: bytes) -> None:
    found, count = together(Answer(status, body, {"Retry-After": "5"}, after=1.0), turns=2)
    assert [(one.status, one.body, one.header("Retry-After")) for one in found] == (
        [(status, body, "5")] * 10
    )
    assert count == 2, "one in each turn: nothing is stored"
    assert [one.header("Cache-Status").endswith("collapsed") for one in found[:5]] == (
        [False, True, True, True, True]
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": "private"},
        {"Cache-Control": "no-store"},
        {"Cache-Control": "max-age=0"},
        {"CDN-Cache-Control": "no-store"},
        {"Vary": "X"},
        {"Set-Cookie": "a=b"},
    ],
)
def test_a_failure_that_may_be_for_one_client_is_not(headers: dict[str, str]) -> None:
    found, count = together(Answer(503, b"failed", headers, after=1.0))
    assert [one.status for one in found] == [503] * 5
    assert count == 5


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refusal_of_one_client_is_not_for_others(status: int) -> None:
    assert together(Answer(status, b"no", after=1.0))[1] == 5
