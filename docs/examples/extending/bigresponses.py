"""A feature: count the large responses of a backend, and mark them with a header."""

from attrs import define, frozen

from lbproxy.config.model import option
from lbproxy.proxy.adminpart import AdminPart, Operation
from lbproxy.proxy.feature import Feature, counted


@frozen
class Keys:
    big_response: int = option("size", 0, doc="count responses of this size or more; 0: none")


@define(eq=False)
class Counters:
    big_responses: int = counted("Responses of big_response bytes or more.")


class BigResponses(Feature):
    name = "big_response"
    keys = ("big_response",)
    Keys = Keys
    Counters = Counters

    def __init__(self, size):
        self.size = size
        self.largest = 0

    @classmethod
    def prepare(cls, spec, old, given):
        if not spec.big_response:
            return None
        return old if old is not None and old.size == spec.big_response else cls(spec.big_response)

    def around(self, phases):
        return phases.after(response=self.response)

    def response(self, exchange):
        length = exchange.response.length
        if length is not None and length >= self.size:
            self.counters.big_responses += 1
            self.largest = max(self.largest, length)
            exchange.response.set_header(b"X-Big", b"yes")

    def forget(self):
        self.largest = 0
        return {"forgotten": True}


BigResponses.part = AdminPart(
    "big_responses",
    operations=(
        Operation(
            "DELETE",
            "big_response",
            "Forget the largest response",
            BigResponses.forget,
            {"forgotten": "boolean"},
            everywhere=True,
        ),
    ),
)
