"""A feature of routes: at most so many requests at once at a route, in all worker processes."""

from attrs import define, frozen

from lbproxy.config.model import option
from lbproxy.http.message import Reply
from lbproxy.proxy.adminpart import AdminPart, Column, Operation
from lbproxy.proxy.feature import Feature, counted


@frozen
class Keys:
    busy: int = option("int", 0, min=0, doc="most requests at once at a route; 0: no limit")


@define(eq=False)
class Counters:
    busy_refused: int = counted("Requests refused by busy.")


class Busy(Feature):
    name = "busy"
    owner = "route"
    keys = ("busy",)
    Keys = Keys
    Counters = Counters

    def __init__(self, limit, given):
        self.limit = limit
        self.held = 0  # by this process
        self.elsewhere = 0  # in a master: by its workers
        self.key = f"busy:{given.env.name}"
        self.shared = given.shared

    @classmethod
    def prepare(cls, spec, old, given):
        if not spec.busy:
            return None
        return old if old is not None else cls(spec.busy, given)

    def refit(self, owner):
        self.limit = owner.spec.busy

    def around(self, phases):
        return phases.before(request=self.begin).after(finish=self.end)

    def begin(self, exchange):
        if not self.shared.claim(self.key, self.limit - self.held):
            self.counters.busy_refused += 1
            return Reply(503, b"busy\n", [(b"Retry-After", b"1")])
        self.held += 1
        exchange.vars = {**(exchange.vars or {}), self.key: True}
        return None

    def end(self, exchange):
        if exchange.vars and exchange.vars.pop(self.key, False):
            self.held -= 1
            self.shared.release(self.key)

    def snapshot(self):
        return {"limit": self.limit, "held": self.held + self.elsewhere}

    def gauges(self):
        return {"held": self.held}

    def show_gauges(self, total):
        self.elsewhere = total.get("held", 0)

    def forget(self):
        self.counters.busy_refused = 0
        return {"forgotten": True}


Busy.part = AdminPart(
    "busy",
    title="Busy routes",
    owner_key="route",
    fields={"limit": "count", "held": "count"},
    columns=(Column("route", "Route"), Column("held", "At once", "count")),
    state="busy",
    operations=(
        Operation(
            "DELETE",
            "busy",
            "Forget how many requests were refused",
            Busy.forget,
            {"forgotten": "boolean"},
            everywhere=True,
        ),
    ),
)
