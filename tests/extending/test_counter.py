"""A counter is one line in the class of its feature: metrics, API and workers follow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.workers.aggregate import Totals, report_of
from tests.admin.kit import AdminClient
from tests.extending.conftest import Install

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "bigresponses.py"
OLD = '    big_responses: int = counted("Responses of big_response bytes or more.")\n'
NEW = '    colossal: int = counted("Colossal responses.")\n'
TEXT = """
[lbproxy]
admin = tcp:8404:interface=127.0.0.1
[frontend web]
listen = tcp:80
backend = app
[backend app]
servers = a 10.0.0.1:80
big_response = 1k
"""


def loaded(install: Install) -> LoadBalancerFixture:
    source = SOURCE.read_text()
    assert source.count(OLD) == 1
    install("bigresponses", source.replace(OLD, OLD + NEW), "BigResponses")
    return LB.from_config(TEXT)


def test_one_line_is_a_metric_and_a_field_of_the_api(install: Install) -> None:
    with loaded(install) as lb:
        lb.backend("app").counts["big_response"].colossal += 7
        client = AdminClient(lb)
        metrics = client.ask("GET", "/metrics").response.body.decode()
        assert 'lbproxy_backend_colossal_total{backend="app"} 7' in metrics
        assert "# HELP lbproxy_backend_colossal_total Colossal responses." in metrics
        assert client.get("backends/app")["colossal"] == 7


@pytest.mark.parametrize("gone", [False, True])
def test_it_adds_up_over_workers(install: Install, gone: bool) -> None:
    with loaded(install) as master, LB.from_config(TEXT) as worker:
        totals = Totals(master.service)
        for slot, count in ((0, 2), (1, 3)):
            worker.backend("app").counts["big_response"].colossal = count
            totals.received(slot, json.loads(json.dumps(report_of(worker.service))))
        if gone:
            totals.ended(1)
        totals.write()
        assert master.backend("app").counts["big_response"].colossal == 5
