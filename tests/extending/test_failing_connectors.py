"""Methods of connectors that raise an exception of any class: at most a 502."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.h1connector import H1Connector
from lbproxy.proxy.http.server import H1ServerConnection
from tests.extending.seams import TEXT, every, exception, over, start


@every
@pytest.mark.parametrize("method", ["offer", "withdraw", "keeps", "open", "bind", "unbind"])
def test_connectors(method: str, error: str, failures: list[str]) -> None:
    lb = start(app="retries = 0\nreuse = never" if method.endswith("bind") else "retries = 0")

    class Failing(Connector):
        bad = False

        def open(self, pending: Any) -> Any:
            if self.bad and method == "open":
                raise exception(error)
            protocol = H1ServerConnection(self, pending)
            return dial_server(self.terms, self.server, protocol, pending.failed)

    def fail(self: Any, *words: Any) -> Any:
        if self.bad:
            raise exception(error)
        return getattr(Connector, method)(self, *words)

    if method != "open":
        setattr(Failing, method, fail)
    lb.backend("app").use_connectors(Failing)
    connector: Any = lb.server("app", "a").connector
    connector.bad = True
    assert lb.get("http://h/").status == (502 if method in ("open", "bind") else 200)
    lb.advance(100)  # idle connections are closed
    assert not lb.origins["a"].open
    connector.bad = False
    assert lb.get("http://h/").status == 200
    assert set(failures) <= {error}
    over(lb)
    assert not lb.origins["a"].open


@every
def test_a_connector_that_cannot_be_made(error: str, failures: list[str]) -> None:
    lb = start(app="retries = 0")

    def make(terms: Any, server: Any) -> Any:
        if server.name == "bad":
            raise exception(error)
        return H1Connector(terms, server)

    backend = lb.backend("app")
    backend.use_connectors(make)
    text = TEXT.format(web="", app="    bad 10.0.0.2:80\nretries = 0")
    assert lb.service.reload(text).ok
    assert sorted(lb.get("http://h/").status for _ in range(4)) == [200, 200, 502, 502]
    assert error in failures
    over(lb)
