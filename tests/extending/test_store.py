"""A store: shared state of several load balancers, and a feature that uses it."""

from __future__ import annotations

import runpy
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred

from lbproxy.testing import LB
from tests.extending.conftest import Install

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "extending"
TEXT = """
[frontend web]
listen = tcp:80
backend = app
quota = 3
[backend app]
servers = a 10.0.0.1:80
"""


class Clock:
    """The time of the store."""

    time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def names() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / "sharedstore.py"))


def done(awaitable: Any) -> Any:
    """The result of an awaitable that is ready."""
    found: list[Any] = []
    ensureDeferred(awaitable).addCallback(found.append)
    return found[0]


def test_the_contract(names: dict[str, Any]) -> None:
    clock = Clock()
    store = names["SharedStore"](clock)
    one = names["Node"]("one", store)
    assert one.alone
    two = names["Node"]("two", store)
    assert not one.alone
    assert done(one.lease("leader", 10.0)) and not done(two.lease("leader", 10.0))
    clock.time = 11.0
    assert done(two.lease("leader", 10.0)), "a lease expires"
    done(one.release("leader"))
    assert not done(one.lease("leader", 10.0)), "only the holder can release"
    done(one.put("key", {"a": 1}, 5.0))
    assert done(two.get("key")) == {"a": 1}
    clock.time = 17.0
    assert done(two.get("key")) is None
    seen: list[Any] = []
    ends = [node.subscribe("topic", seen.append) for node in (one, two)]
    two.publish("topic", 1)
    ends[0]()
    two.publish("topic", 2)
    assert seen == [1, 1, 2]


def test_two_nodes_share_a_limit(names: dict[str, Any], install: Install) -> None:
    install("quota", (EXAMPLES / "quota.py").read_text(), "Quota")
    clock = Clock()
    store = names["SharedStore"](clock)
    with ExitStack() as stack:
        both = []
        for name in ("one", "two"):
            node = names["Node"](name, store)
            both.append(stack.enter_context(LB.from_config(TEXT, replicated=node)))
            both[-1].origin("a", "10.0.0.1:80")
        statuses = [both[n % 2].get("http://h/").status for n in range(8)]
        assert statuses[:4] == [200] * 4, "three, and the one whose answer came afterwards"
        assert statuses.count(429) == 3 and statuses[-2:] == [429, 429]
        refused = [lb.service.frontend("web").counts["quota"].quota_refused for lb in both]
        assert sum(refused) == 3 and all(refused)
        clock.time = 60.0
        for lb in both:
            lb.advance(60)
        assert [lb.get("http://h/").status for lb in both] == [200, 200]
