"""A feature of routes that share an object, as an installed package would have it."""

from __future__ import annotations

__all__ = ["SOURCE"]

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
        total, kind = self.meter.total, EventKind.CACHE_PURGED
        if total > 90:  # mistakes of an extension
            total = {95: None, 96: "96"}.get(total, total)
            kind = "purged" if total == 97 else kind
            if total == 98:
                return None
        words = (self.of_meter + (" grew by {x}" if total == 99 else " grew by {}")).format
        return [Growth("total", total, kind, self.of_meter, words)]

    def sample(self):
        if self.meter.total == 95:
            return {"lists": {self.of_meter: None}, "caches": {self.of_meter: 5}}
        if self.meter.total == 96:
            return {"caches": {self.of_meter: 5}}
        return {"lists": {self.of_meter: "" if self.meter.total < 10 else "is full"}}
"""
