"""The alert about the shared store, and what workers report of it, on the virtual clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lbproxy.alerts.sampling import AlertSampler
from lbproxy.observe.alertrules import RULES
from lbproxy.observe.alerts import Alerts
from lbproxy.workers.aggregate import Totals, report_of
from tests.nodes.test_nodes import Nodes


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes(3)  # two as workers, one as their master
    yield made
    made.close()


class Watched:
    """The alerts of a node, looked at once a second."""

    def __init__(self, nodes: Nodes, number: int) -> None:
        self._nodes = nodes
        self._sampler = AlertSampler(nodes.nodes[number].service, nodes.reactor.seconds)
        self._alerts = Alerts({"shared_store": RULES["shared_store"].defaults})

    def seconds(self, count: int) -> list[str]:
        """Let time pass; return what has fired and recovered."""
        found: list[str] = []
        for _ in range(count):
            self._nodes.reactor.advance(1)
            sample = self._sampler.sample(self._nodes.reactor.seconds(), 0.0)
            for change in self._alerts.look(sample):
                found.append("fired" if change.fired else "recovered")
        return found

    @property
    def texts(self) -> list[str]:
        return [one.finding.text for one in self._alerts.active]


def report(nodes: Nodes, totals: Totals, *workers: int) -> None:
    """The reports that ``workers`` send each second, and the sums of their master."""
    for slot in workers:
        totals.received(slot, json.loads(json.dumps(report_of(nodes.nodes[slot].service))))
    totals.write()


@pytest.mark.parametrize("how", ["stopped", "hung"])
def test_the_alert_fires_while_the_store_does_not_answer(nodes: Nodes, how: str) -> None:
    watched = Watched(nodes, 2)
    assert watched.seconds(20) == []
    if how == "stopped":
        nodes.redis.stop()
    else:
        nodes.redis.hung = True
        nodes.get(2)  # something to exchange
    assert watched.seconds(4) == [], "a short interruption is no alert"
    assert watched.seconds(16) == ["fired"]
    (text,) = watched.texts
    assert text.startswith("shared store is down: ")
    nodes.redis.hung = False
    nodes.redis.start()
    assert watched.seconds(60) == ["recovered"]
    assert watched.texts == []


def test_a_restart_of_the_store_is_no_alert(nodes: Nodes) -> None:
    watched = Watched(nodes, 2)
    nodes.redis.stop()
    assert watched.seconds(2) == []
    nodes.redis.start()
    assert watched.seconds(30) == []


def test_the_alert_of_a_master_knows_the_workers_that_cannot_reach_the_store(nodes: Nodes) -> None:
    watched = Watched(nodes, 2)
    totals = Totals(nodes.nodes[2].service)
    report(nodes, totals, 0, 1)
    assert watched.seconds(10) == []
    nodes.nodes[0].service.nodes.client.stop()  # the master and the other worker still reach it
    report(nodes, totals, 0, 1)
    facts = nodes.nodes[2].service.nodes.facts()
    assert facts["up"] and facts["processes_down"] == 1
    assert watched.seconds(10) == ["fired"]
    assert watched.texts == ["shared store is down: 1 workers cannot reach it"]
    totals.ended(0)
    report(nodes, totals, 1)
    assert nodes.nodes[2].service.nodes.facts()["processes_down"] == 0
    assert watched.seconds(60) == ["recovered"]


def test_a_master_shows_the_sums_of_its_workers(nodes: Nodes) -> None:
    master = nodes.nodes[2].service
    totals = Totals(master)
    for number, times in ((0, 3), (1, 2)):
        for client in range(times):
            nodes.get(number, client=f"203.0.113.{10 * number + client}")
    nodes.reactor.advance(1)
    own = master.nodes.totals()
    workers = [nodes.nodes[number].service.nodes.totals() for number in (0, 1)]
    assert [one["keys_sent"] for one in workers] != [0, 0]
    report(nodes, totals, 0, 1)
    facts = master.nodes.facts()
    for key, count in own.items():
        assert facts[key] == pytest.approx(count + sum(one[key] for one in workers)), key
    totals.ended(0)
    report(nodes, totals, 1)
    after = master.nodes.facts()
    assert after["keys_sent"] >= facts["keys_sent"], "what an ended worker has counted stays"


def test_a_master_shows_what_the_limits_of_its_workers_did(nodes: Nodes) -> None:
    master = nodes.nodes[2].service
    totals = Totals(master)
    refused = [12 - nodes.passed(0, 12), 11 - nodes.passed(1, 11)]
    assert refused == [2, 1]
    report(nodes, totals, 0, 1)
    shown: Any = _limits(nodes, 2)
    assert shown["asked"] == 23
    assert shown["refused"] == 3
    assert shown["refused_keys"] == {"203.0.113.9": 3}
    assert master.frontends["web"].counts["limits"].limit_refused == 3


def _limits(nodes: Nodes, number: int) -> Any:
    from lbproxy.proxy.features.limiting.feature import Limiting

    return nodes.feature(number, Limiting).snapshot()["limits"]["per-client"]
