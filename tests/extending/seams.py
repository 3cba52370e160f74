"""Code of others that raises, and what every test of it needs.

At every seam an exception of any class is caught and logged, its exchange ends with the right
status, and lbproxy goes on.  The tables are the files ``test_failing_*.py`` of this folder,
``tests/proxy/http/test_failing_sources.py`` (sources) and
``tests/proxy/http/test_base_exceptions.py`` (filters and timers).
"""

from __future__ import annotations

import builtins

import pytest

from lbproxy.testing import LB, LoadBalancerFixture

__all__ = ["FEATURE", "TEXT", "every", "exception", "over", "start"]

ERRORS = [
    "OverflowError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "RecursionError",
    "MemoryError",
]  # fmt: skip
TEXT = """
[frontend web]
listen = tcp:80
timeout_client = 5s
{web}
backend = app
[backend app]
servers =
    a 10.0.0.1:80
{app}
"""
every = pytest.mark.parametrize("error", ERRORS)


def exception(name: str) -> BaseException:
    made: BaseException = getattr(builtins, name)("on purpose")
    return made


def start(web: str = "", app: str = "") -> LoadBalancerFixture:
    lb = LB.from_config(TEXT.format(web=web, app=app))
    lb.origin("a", "10.0.0.1:80")
    return lb


def over(lb: LoadBalancerFixture) -> None:
    """Nothing is left of any exchange."""
    frontend, server = lb.service.frontend("web"), lb.server("app", "a")
    lb.advance(200)
    assert (frontend.limits.active, server.active) == (0, 0) and not server.sessions
    assert frontend.counters.requests == sum(frontend.counters.closes.values())
    assert not server.connector._waiting and not server.connector.idle
    lb.close()


FEATURE = """
from attrs import define, frozen
from lbproxy.config.model import option
from lbproxy.proxy.feature import Feature, counted

@frozen
class Keys:
    bad: str = option("string", "", doc="method and error")

class Bad(Feature):
    name = "bad"
    keys = ("bad",)
    Keys = Keys

    def __init__(self, text):
        self.method, self.error = text.split(".")

    @classmethod
    def prepare(cls, spec, old, given):
        if spec.bad.startswith("prepare."):
            raise getattr(__import__("builtins"), spec.bad.split(".")[1])("on purpose")
        return cls(spec.bad) if spec.bad else None

    def called(self, method, result):
        if self.method == method:
            raise getattr(__import__("builtins"), self.error)("on purpose")
        return result

    def around(self, phases): return self.called("around", phases)
    def source(self, inner): return self.called("source", inner)
    def services(self): return self.called("services", ())
    def sync(self): return self.called("sync", None)
    def snapshot(self): return self.called("snapshot", {"a": 1})
    def row(self): return self.called("row", {"a": 1})
    def gauges(self): return self.called("gauges", {"a": 1})
    def show_gauges(self, total): self.called("show_gauges", None)
    def take_records(self): return self.called("take_records", [{"a": 1}])
    def add_records(self, records): self.called("add_records", None)
    def growths(self): return self.called("growths", ())
    def sample(self): return self.called("sample", {})
"""
