"""A feature whose owners share an object: workers add it up, and its counters cause events and
alerts, without a line outside of the feature.
"""

from __future__ import annotations

import json

from lbproxy.observe.events import EventKind
from lbproxy.testing import LB
from lbproxy.workers.aggregate import Totals, report_of
from tests.extending.conftest import Install

SOURCE = """
from attrs import frozen
from lbproxy.config.model import option
from lbproxy.observe.counters import Lifetime, Table, Value, setter
from lbproxy.observe.events import EventKind
from lbproxy.proxy.feature import Feature
from lbproxy.proxy.together import Growth, Together

class Meter:
    def __init__(self):
        self.total = 0

@frozen
class Keys:
    meter: str = option("string", "", doc="name of a meter")

class Metering(Feature):
    owner, name, keys, Keys = "route", "meter", ("meter",), Keys
    together = Together(
        "meters",
        lambda features: {one.of_meter: one.meter for one in features.values()},
        Table((Value("total", lambda one: one.total, setter("total"), Lifetime.TOTAL),)),
    )

    def __init__(self, name, given):
        self.of_meter = name
        self.meter = given.keep("meter", name, Meter)

    @classmethod
    def prepare(cls, spec, old, given):
        if not spec.meter:
            return None
        return old if old is not None and old.of_meter == spec.meter else cls(spec.meter, given)

    def around(self, phases):
        return phases.before(request=self.request)

    def request(self, exchange):
        self.meter.total += 1

    def growths(self):
        if self.meter.total > 90:
            return None  # a mistake of an extension
        words = (self.of_meter + " grew by {}").format
        kind = EventKind.CACHE_PURGED
        return [Growth("total", self.meter.total, kind, self.of_meter, words)]

    def sample(self):
        return {"lists": {self.of_meter: "" if self.meter.total < 10 else "is full"}}
"""
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
        assert EventKind.CACHE_PURGED.value in {e.kind.value for e in master.service.events.since()}
