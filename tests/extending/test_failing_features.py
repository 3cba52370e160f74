"""Methods of features that raise an exception of any class: it is logged, and lbproxy goes on."""

from __future__ import annotations

import pytest

from lbproxy.proxy.feature import shown
from lbproxy.workers.aggregate import Totals, report_of
from tests.extending.conftest import Install
from tests.extending.seams import FEATURE, TEXT, every, start

FEATURE_METHODS = [
    ("around", 500), ("source", 500), ("services", 200), ("sync", 200), ("snapshot", 200),
    ("gauges", 200), ("show_gauges", 200), ("take_records", 200), ("add_records", 200),
    ("growths", 200), ("sample", 200),
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
    lb.advance(2.0)
    lb.service.alerter._sampler.sample(0.0)
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
