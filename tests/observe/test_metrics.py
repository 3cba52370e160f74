"""Counters, histogram, snapshots."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.balance.server import ServerState
from lbproxy.config.model import Address, ServerSpec
from lbproxy.errors import Kind
from lbproxy.observe.metrics import BUCKETS, BackendCounters, FrontendCounters, Histogram
from lbproxy.observe.snapshot import snapshot


def test_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.1001, 1.0, 7.0):
        histogram.add(seconds)
    assert histogram.counts == [2, 2, 1]
    assert histogram.cumulative() == [(0.1, 2), (1.0, 4), (float("inf"), 5)]
    assert histogram.total == pytest.approx(8.2001)


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0)])
def test_bounds_must_ascend(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Histogram(bounds)


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_a_quantile_bounds_its_share(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    bound = histogram.quantile(share)
    assert sum(value <= bound for value in values) >= share * len(values)
    below = [b for b in BUCKETS if b < bound]
    if below:  # and it is the smallest such bucket
        under = sum(value <= below[-1] for value in values)
        assert under < share * len(values) or under == 0


def test_quantile_of_nothing() -> None:
    assert Histogram().quantile(0.99) == 0.0
    with pytest.raises(ValueError, match="between"):
        Histogram().quantile(2)


def test_snapshot_is_plain_and_complete() -> None:
    frontend = FrontendCounters()
    frontend.connections, frontend.requests, frontend.bytes_in = 3, 2, 7
    backend = BackendCounters()
    backend.retries = 4
    frontend.responses[2] += 2
    frontend.responses[0] += 1
    frontend.closes[Kind.CLIENT_GONE] = 1
    server = ServerState("app", ServerSpec("a", Address("tcp", "10.0.0.1", 80), weight=3), weight=3)
    server.addresses = server.spec.target.sockets
    server.counters.picked = 9
    balancer = SimpleNamespace(
        frontends={
            "web": SimpleNamespace(name="web", mode="http", counters=frontend, client_count=2,
                feature_snapshot=dict)
        },
        backends={
            "app": SimpleNamespace(
                name="app", mode="http", counters=backend, queue=SimpleNamespace(waiting=1),
                feature_snapshot=dict,
                group=SimpleNamespace(servers={"a": server}, eligible_count=1, balancer_errors=0,
                    panicking=False),
            )
        },
    )  # fmt: skip
    found = json.loads(json.dumps(snapshot(balancer)))
    web, app = found["frontends"][0], found["backends"][0]
    assert web["active_connections"] == 2 and web["connections"] == 3 and web["bytes_in"] == 7
    assert web["responses"] == {"none": 1, "1xx": 0, "2xx": 2, "3xx": 0, "4xx": 0, "5xx": 0}
    assert web["closes"] == {"client_gone": 1}
    assert app["retries"] == 4 and app["waiting"] == 1 and app["eligible"] == 1
    (a,) = app["servers"]
    assert (
        a["name"] == "a"
        and a["state"] == "up"
        and a["picked"] == 9
        and a["addresses"] == ["10.0.0.1:80"]
    )
