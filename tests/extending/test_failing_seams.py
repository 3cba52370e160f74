"""Every seam at which code of others runs, and every class of exception that it may raise.

The exception is caught and logged, its exchange ends with the right status, and lbproxy goes on.
Other tables: sources (``tests/proxy/http/test_failing_sources.py``), features and connectors
(``test_failing.py``), the background (``test_failing_background.py``), filters and timers
(``tests/proxy/http/test_base_exceptions.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbproxy.http.filter import compile_phases
from lbproxy.http.transform import Transform
from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.feature import shown
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.h1connector import H1Connector
from lbproxy.proxy.http.server import H1ServerConnection
from lbproxy.testing import LB
from lbproxy.workers.aggregate import Totals, report_of
from tests.extending.conftest import Install
from tests.extending.seams import FEATURE, TEXT, every, exception, over, start

# -- transforms ---------------------------------------------------------------------------------


class Bad(Transform):
    """One of its methods raises, for requests of /bad."""

    def __init__(self, method: str, error: str) -> None:
        def fail(*words: Any) -> Any:
            raise exception(error)

        setattr(self, method, fail)


@every
@pytest.mark.parametrize("method", ["start", "data", "end"])
@pytest.mark.parametrize("phase", ["server_request", "response"])
def test_transforms(method: str, phase: str, error: str, failures: list[str]) -> None:
    lb = start()

    class Using:
        name = "using"

    def act(traffic: Any) -> None:
        if traffic.request.path == b"/bad":
            kind = phase.removeprefix("server_")
            getattr(traffic, f"transform_{kind}")(Bad(method, error))

    using = Using()
    setattr(using, phase, act)
    lb.service.frontend("web").compile(compile_phases([using]))
    assert lb.request("POST", "http://h/bad", body=b"text").status == 500
    assert set(failures) == {error}
    assert lb.request("POST", "http://h/", body=b"text").status == 200
    over(lb)


# -- features -----------------------------------------------------------------------------------

FEATURE_METHODS = [
    ("around", 500), ("source", 500), ("services", 200), ("sync", 200), ("snapshot", 200),
    ("gauges", 200), ("show_gauges", 200), ("take_records", 200), ("add_records", 200),
]  # fmt: skip


@every
@pytest.mark.parametrize(("method", "status"), FEATURE_METHODS)
def test_features(
    install: Install, method: str, status: int, error: str, failures: list[str]
) -> None:
    install("bad", FEATURE, "Bad")
    lb = start(app=f"bad = {method}.{error}")
    assert lb.get("http://h/").status == status
    backend = lb.backend("app")
    assert lb.service.reload(TEXT.format(web="", app=f"bad = {method}.{error}\nqueue = 7")).ok
    assert backend.spec.queue == 7
    assert lb.get("http://h/").status == status
    backend.sync()
    assert "bad" in shown(backend)
    totals = Totals(lb.service)
    report = report_of(lb.service)
    assert report["backends"]["app"]["counters"]
    totals.received(0, report)
    totals.write()
    own = {"RuntimeError"} if status == 500 else set()  # one for each request, where it fails
    assert set(failures) == {error} | own
    assert lb.service.reload(TEXT.format(web="", app="")).ok
    assert lb.get("http://h/").status == 200
    lb.close()


@every
def test_a_feature_that_cannot_be_prepared_changes_nothing(
    install: Install, error: str, failures: list[str]
) -> None:
    install("bad", FEATURE, "Bad")
    lb = start()
    report = lb.service.reload(TEXT.format(web="", app=f"bad = prepare.{error}\nqueue = 7"))
    assert not report.ok and "on purpose" in str(report.errors)
    assert lb.backend("app").spec.queue != 7
    assert lb.get("http://h/").status == 200
    lb.close()


# -- connectors ---------------------------------------------------------------------------------


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


# -- balancers ----------------------------------------------------------------------------------

BALANCER = """
from lbproxy.balance.roundrobin import RoundRobin

class Balancer(RoundRobin):
    name = "bad"
    def {method}(self, *words):
        raise {error}("on purpose")
"""


@every
@pytest.mark.parametrize("method", ["pick", "taken", "released", "servers_changed"])
def test_balancers(tmp_path: Path, method: str, error: str, failures: list[str]) -> None:
    (tmp_path / "bad.py").write_text(BALANCER.format(method=method, error=error))
    lb = start(app=f"balance = {tmp_path}/bad.py:Balancer\n")
    assert [lb.get("http://h/").status for _ in range(3)] == [200] * 3
    group = lb.backend("app").group
    group.set_health(group.servers["a"], False, "down")
    group.set_health(group.servers["a"], True, "up")
    assert lb.get("http://h/").status == 200
    assert group.balancer_errors and set(failures) == {error}
    over(lb)


# -- keys of limits -----------------------------------------------------------------------------


@every
@pytest.mark.parametrize(("on_error", "status"), [("open", 200), ("closed", 503)])
def test_keys_of_limits(on_error: str, status: int, error: str, failures: list[str]) -> None:
    sections = f"[limit all]\nrate = 1/s\nkey = {{client_ip}}\non_error = {on_error}\n"
    lb = LB.from_config(TEXT.format(web="limits = all", app="") + sections)
    lb.origin("a", "10.0.0.1:80")
    (feature,) = [
        one for one in lb.service.frontend("web").all_features() if one.name.startswith("limit")
    ]
    limit = feature._uses[0].limit

    class Key:
        def all_of(self, traffic: Any) -> Any:
            raise exception(error)

    limit.key = Key()
    assert [lb.get("http://h/").status for _ in range(3)] == [status] * 3
    assert set(failures) == {error}
    over(lb)
