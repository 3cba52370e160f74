"""A feature whose owners share an object: workers add it up, and its counters cause events and
alerts.
"""

from __future__ import annotations

import json

import pytest

from lbproxy.features import kind_of
from lbproxy.testing import LB
from lbproxy.workers.aggregate import Totals, report_of
from tests.extending.conftest import Install
from tests.extending.metering import SOURCE

TEXT = """
    [alerts]
    [frontend web]
    listen = tcp:80
    meter = one
    routes =
        path /a -> app
        path /b -> app meter=two
        default -> app
    [backend app]
    servers = a 10.0.0.1:80
"""


def test_workers_events_and_alerts_follow_the_declaration(install: Install) -> None:
    install("metering", SOURCE, "Metering")
    with LB.from_config(TEXT) as worker, LB.from_config(TEXT) as master:
        for path in ("a", "b", "c", "d"):
            worker.get(f"http://h/{path}")
        report = json.loads(json.dumps(report_of(worker.service)))
        assert report["meters"] == {"one": {"total": 3}, "two": {"total": 1}}
        totals = Totals(master.service)
        for slot in (0, 1, 2, 3):
            totals.received(slot, report)
        totals.ended(3)
        totals.write()
        master.advance(2.0)
        told = [one.text for one in master.service.events.since() if one.subject in ("one", "two")]
        assert told == ["one grew by 12", "two grew by 4"]
        sample = master.service.alerter._sampler.sample(0.0)
        assert sample.lists == {"one": "is full", "two": ""}


@pytest.mark.parametrize(
    ("total", "error"),
    [(95, "TypeError"), (96, "TypeError"), (97, "TypeError"), (98, "TypeError"), (99, "KeyError")],
)
def test_a_feature_that_returns_nonsense_stops_no_other(
    install: Install, failures: list[str], total: int, error: str
) -> None:
    install("metering", SOURCE, "Metering")
    with LB.from_config(TEXT) as lb:
        meters = lb.service.together(kind_of("meter"))
        meters["one"].total, meters["two"].total = total, 7
        lb.advance(2.0)
        told = [one for one in lb.service.events.since() if one.subject in ("one", "two")]
        assert [one.text for one in told] == ["two grew by 7"]
        assert [one.as_dict()["kind"] for one in told] == ["cache_purged"]
        lb.service.backends["app"].counters.queue_full = 3
        lb.advance(40.0)  # other counters, and the rules of alerts, are still read
        kinds = {one.kind.value for one in lb.service.events.since()}
        assert {"queue_full", "alert"} <= kinds
    assert error in failures
