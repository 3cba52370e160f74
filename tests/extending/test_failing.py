"""Features and connectors whose methods raise: others go on, and nothing is left behind."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.server import H1ServerConnection
from lbproxy.testing import LB, LoadBalancerFixture
from tests.extending.conftest import Install

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
TEXT = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
{more}
"""
METHODS = [
    "attach", "refit", "start", "detach", "retire", "close", "server_added", "server_removed",
    "state_changed", "servers_changed",
]  # fmt: skip


def start(more: str = "") -> LoadBalancerFixture:
    lb = LB.from_config(TEXT.format(more=more))
    lb.origin("a", "10.0.0.1:80")
    lb.origin("b", "10.0.0.2:80")
    return lb


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


class Stream:
    """A stream to a server one of whose methods raises."""

    def __init__(self, inner: Any, method: str, error: type[BaseException]) -> None:
        self._inner, self._method, self._error = inner, method, error

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        def fail(*words: Any, **named: Any) -> Any:
            found(*words, **named)
            raise self._error("on purpose")

        return fail


class Connection(Stream):
    """A connection whose streams raise, or which raises itself."""

    def open_stream(self, sink: Any) -> Any:
        if self._method == "open_stream":
            raise self._error("on purpose")
        return Stream(self._inner.open_stream(sink), self._method, self._error)


def connector(method: str, error: type[BaseException]) -> type[Connector]:
    """A connector whose ``method``, or that of its streams, raises."""

    class Failing(Connector):
        def open(self, pending: Any) -> Any:
            protocol = H1ServerConnection(self, pending)
            return dial_server(self.terms, self.server, protocol, pending.failed)

        def take(self, waiter: Any) -> Any:
            if method == "take":
                raise error("on purpose")
            found = super().take(waiter)
            return None if found is None else Connection(found, method, error)

        def dial(self, waiter: Any) -> None:
            if method == "dial":
                raise error("on purpose")
            super().dial(waiter)

        def made(self, pending: Any, connection: Any) -> None:
            super().made(pending, Connection(connection, method, error))

        def cancel(self, waiter: Any) -> None:
            super().cancel(waiter)
            if method == "cancel":
                raise error("on purpose")

        def clear(self) -> None:
            super().clear()
            if method == "clear":
                raise error("on purpose")

    return Failing


CALLS = [
    ("take", 502), ("dial", 502), ("open_stream", 502), ("send_request", 500), ("send_body", 502),
    ("close", 200), ("cancel", 0), ("clear", 0), ("pause_response", 0), ("resume_response", 0),
]  # fmt: skip


@pytest.mark.parametrize("error", [OverflowError, SystemExit, RecursionError, MemoryError])
@pytest.mark.parametrize(("method", "status"), CALLS)
def test_a_connector(method: str, status: int, error: type[BaseException]) -> None:
    lb = start("retries = 0\ntimeout_connect = 1s")
    made = connector(method, error)
    backend = lb.backend("app")
    backend.use_connectors(made)
    if method == "cancel":
        lb.reactor.blackhole("10.0.0.1:80")
        lb.reactor.blackhole("10.0.0.2:80")
    client = lb.connect("web")
    if method.endswith("_response"):
        client.pause()
        for name in "ab":
            lb.origins[name].handler = bytes(500_000)
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
    client.send(b"dy")
    client.resume()
    if method == "cancel":
        client.abort()
    lb.advance(2)
    if method == "send_request":
        assert client.received[9:12] in (b"500", b"502")
    elif status:
        assert client.received[9:12] == b"%d" % status
    backend.group.set_health(backend.group.servers["b"], False, "down")
    client.close()
    lb.advance(70)
    assert [one.active for one in backend.group.servers.values()] == [0, 0]
    assert not any(one.sessions for one in backend.group.servers.values())
    lb.close()
