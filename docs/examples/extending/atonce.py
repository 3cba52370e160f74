"""A feature of frontends: at most so many requests at once, in all worker processes together."""

from attrs import define, frozen

from lbproxy.config.model import option
from lbproxy.http.message import Reply
from lbproxy.proxy.feature import Feature, counted

HELD = "at_once"  # in traffic.vars


@frozen
class Keys:
    at_once: int = option("int", 0, min=0, doc="most requests at once, of all workers; 0: no limit")


@define(eq=False)
class Counters:
    at_once_refused: int = counted("Requests refused by at_once.")


class AtOnce(Feature):
    name = "at_once"
    owner = "frontend"
    keys = ("at_once",)
    Keys = Keys
    Counters = Counters

    def __init__(self, limit, given):
        self.limit = limit
        self.held = 0  # by this process
        self.key = f"at_once:{given.env.name}"
        self.shared = given.shared

    @classmethod
    def prepare(cls, spec, old, given):
        if not spec.at_once:
            return None
        return old if old is not None else cls(spec.at_once, given)

    def refit(self, owner):
        self.limit = owner.spec.at_once

    def around(self, phases):
        return phases.before(early=self.begin).after(finish=self.end)

    def begin(self, exchange):
        if not self.shared.claim(self.key, self.limit - self.held):
            self.counters.at_once_refused += 1
            return Reply(503, b"busy\n", [(b"Retry-After", b"1")])
        self.held += 1
        exchange.vars = {**(exchange.vars or {}), HELD: True}
        return None

    def end(self, exchange):
        if exchange.vars and exchange.vars.pop(HELD, False):
            self.held -= 1
            self.shared.release(self.key)
