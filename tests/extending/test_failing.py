"""Features whose methods raise: others continue, and nothing is left behind."""

from __future__ import annotations

import pytest

from tests.extending.conftest import Install
from tests.extending.twoservers import TEXT, start

ERRORS = ["ValueError", "SystemExit", "RecursionError", "MemoryError"]
FEATURE = """
from attrs import frozen
from lbproxy.config.model import option
from lbproxy.proxy.feature import Feature

@frozen
class Keys:
    bad: str = option("string", "", doc="method and error")

class Bad(Feature):
    name = "bad"
    keys = ("bad",)
    Keys = Keys

    def __init__(self, text):
        method, error = text.split(".")
        self.called = []
        def fail(*words):
            self.called.append(words)
            raise getattr(__builtins__, error, None) or __builtins__[error]("on purpose")
        setattr(self, method, fail)

    @classmethod
    def prepare(cls, spec, old, given):
        return cls(spec.bad) if spec.bad and old is None else old if spec.bad else None
"""
METHODS = [
    "attach", "refit", "start", "detach", "retire", "close", "server_added", "server_removed",
    "state_changed", "servers_changed",
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", METHODS)
def test_a_feature(install: Install, method: str, error: str) -> None:
    install("bad", FEATURE, "Bad")
    lb = start(f"bad = {method}.{error}")
    feature = lb.backend("app").features["bad"]
    assert lb.get("http://h/").status == 200
    backend = lb.backend("app")
    backend.remove("b")
    assert {lb.get("http://h/").server for _ in range(3)} == {"a"}
    text = TEXT.format(more=f"bad = {method}.{error}\nqueue = 7")
    assert lb.service.reload(text).ok and backend.spec.queue == 7
    text = TEXT.replace("servers =", "servers =\n    c 10.0.0.3:80")
    assert lb.service.reload(text.format(more=f"bad = {method}.{error}\nqueue = 8")).ok
    assert "c" in backend.group.servers
    backend.group.set_health(backend.group.servers["c"], False, "down")
    assert lb.service.reload(TEXT.format(more="")).ok
    assert lb.get("http://h/").status == 200 and not backend.features
    lb.close()
    assert feature.called or method == "retire"
