"""Counters of several processes, as one process shows them."""

from __future__ import annotations

import json
from typing import Any

from lbproxy.alerts.sampling import AlertSampler
from lbproxy.cache.purge import Purge
from lbproxy.config.model import Config
from lbproxy.errors import Kind
from lbproxy.observe.offenders import Offenders
from lbproxy.proxy.features.mirror import Mirror
from lbproxy.proxy.features.rebalancer import Rebalancer
from lbproxy.testing import LB
from lbproxy.workers.aggregate import Totals, report_of
from lbproxy.workers.worker import worker_config

TEXT = """
[lbproxy]
maxconn = 101
access_log = stdout json
[frontend web]
listen = tcp:8080
maxconn = 10
backend = app
[backend app]
check = http GET /
servers = a 10.0.0.1:80
"""


def lb() -> Any:
    made = LB.from_config(TEXT)
    made.origin("a", "10.0.0.1:80")
    return made


def test_sums_and_what_the_dead_had_counted() -> None:
    one, two, master = lb(), lb(), lb()
    for worker, count in ((one, 2), (two, 3)):
        for counters in (worker.service.frontend("web").counters, worker.backend("app").counters):
            counters.measure()
        for _ in range(count):
            worker.get("http://h:8080/")
    held = one.connect("web")
    for counters in (master.service.frontend("web").counters, master.backend("app").counters):
        counters.measure()
    totals = Totals(master.service)
    for slot, worker in enumerate((one, two)):
        totals.received(slot, json.loads(json.dumps(report_of(worker.service))))
    totals.write()
    frontend = master.service.frontend("web")
    assert frontend.counters.requests == 5
    assert frontend.counters.responses[2] == 5
    assert frontend.counters.closes == {Kind.OK: 5}
    assert frontend.counters.request_seconds.count == 5
    assert frontend.client_count == frontend.limits.active == 1
    assert master.service.generation.sessions() == 1
    assert master.server("app", "a").counters.picked == 5
    totals.ended(0)
    totals.write()
    assert frontend.counters.requests == 5, "counted is counted"
    assert frontend.client_count == 0, "but its sessions are gone"
    three = lb()
    three.get("http://h:8080/")
    totals.received(0, report_of(three.service))
    totals.write()
    assert frontend.counters.requests == 6
    totals.ended(0)
    totals.ended(1)
    totals.ended(1)
    totals.write()
    assert frontend.counters.requests == 6
    held.close()
    for each in (one, two, three, master):
        each.close()


def test_probes_are_the_master_s_own() -> None:
    worker, master = lb(), lb()
    master.advance(3)
    probed = master.server("app", "a").counters.probes_ok
    assert probed
    totals = Totals(master.service)
    totals.received(0, report_of(worker.service))
    totals.write()
    assert master.server("app", "a").counters.probes_ok == probed
    worker.close()
    master.close()


def test_what_a_worker_serves() -> None:
    from lbproxy.registry import parse_config

    config: Config = worker_config(parse_config(TEXT), 4)
    assert config.settings.maxconn == 26
    assert config.frontend("web").maxconn == 3
    assert config.backend("app").check is None
    assert worker_config(parse_config(TEXT.replace("maxconn = 101", "")), 4).settings.maxconn == 0


def test_limits_of_a_backend_are_split() -> None:
    from lbproxy.registry import parse_config

    text = TEXT.replace(
        "[backend app]",
        "[backend copy]\nservers = c 10.0.0.9:80\n[backend app]\nmirror = copy max=10\nmaxconn = "
        "101\n"
        "agent = 9000\nqueue = 40\nmax_retries = 3\nretry_budget = 20%\nretry_floor = 10/s",
    )
    app = worker_config(parse_config(text), 4).backend("app")
    assert (app.maxconn, app.queue, app.max_retries, app.retry_floor) == (26, 10, 1, 2.5)
    assert app.retry_budget == 0.2
    assert app.agent is None, "the master asks"
    assert app.mirror is not None and app.mirror.max == 3
    assert worker_config(parse_config(TEXT), 4).backend("app").maxconn == 0


def test_workers_share_a_secret() -> None:
    from lbproxy.registry import parse_config

    assert worker_config(parse_config(TEXT), 4, "0123456789abcdef").settings.secret.endswith("ef")
    text = TEXT.replace("[lbproxy]", "[lbproxy]\nsecret = our-own-secret-000")
    assert worker_config(parse_config(text), 4, "x").settings.secret == "our-own-secret-000"


def test_who_attacks_and_what_logs_drop_is_summed() -> None:
    one, two, master = lb(), lb(), lb()
    for worker in (one, two):
        offenders = worker.service.frontends["web"].offenders = Offenders()
        offenders.add("10.9.9.9")
        for sink in worker.service.log_sinks():
            sink.dropped = 3
    one.service.frontends["web"].offenders.add("10.9.9.8")
    master.service.frontends["web"].offenders = Offenders()
    totals = Totals(master.service)
    for slot, worker in enumerate((one, two)):
        totals.received(slot, json.loads(json.dumps(report_of(worker.service))))
    for _ in range(2):
        totals.write()
        assert master.service.frontends["web"].offenders.worst() == ("10.9.9.9", 2)
    assert [sink.dropped for sink in master.service.log_sinks()] == [6]
    for each in (one, two, master):
        each.close()


LASTING = """
[frontend web]
listen = tcp:8080
backend = app
[backend app]
sticky = header X-User
mirror = next compare=body
rebalance = websocket
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
[backend next]
servers = n 10.0.0.3:80
"""


def test_mirrors_and_long_sessions() -> None:
    def made() -> Any:
        lb = LB.from_config(LASTING)
        lb.origin("a", "10.0.0.1:80")
        lb.origin("b", "10.0.0.2:80")
        lb.origin("n", "10.0.0.3:80", lambda request: b"something else")
        return lb

    one, two, master = made(), made(), made()
    totals = Totals(master.service)
    for slot, (worker, users) in enumerate(((one, "abc"), (two, "de"))):
        for user in users:
            worker.get(f"http://h:8080/{user}", headers={"X-User": user})
        worker.advance(1)
        report = json.loads(json.dumps(report_of(worker.service)))
        totals.received(slot, report)
        assert len(report["backends"]["app"]["records"]["mirror"]) == len(users)
        again = report_of(worker.service)
        assert "records" not in again["backends"]["app"], "reported once"
    totals.write()
    backend = master.backend("app")
    assert backend.sticky.counters.moved == 0
    mirror = Mirror.of(backend)
    assert (mirror.counters.copied, mirror.counters.different) == (5, 5)
    last = master.service.mirror_differences("app")
    assert [difference.path for difference in last] == ["/a", "/b", "/c", "/d", "/e"]
    assert all(isinstance(difference.what, tuple) for difference in last)
    assert mirror.snapshot()["running"] == 0
    totals.write()
    assert len(master.service.mirror_differences("app")) == 5, "each once"
    assert Rebalancer.of(backend).plan() == {}
    counts = report_of(one.service)
    counts["backends"]["app"]["gauges"]["rebalance"]["a"] = 8
    totals.received(0, counts)
    totals.write()
    moves = {server.name: count for server, count in Rebalancer.of(backend).plan().items()}
    assert moves == {"a": 4}
    totals.ended(1)
    totals.write()
    assert mirror.counters.different == 5
    for each in (one, two, master):
        each.close()


def test_the_lag_is_that_of_the_worst_worker() -> None:
    one, two, master = lb(), lb(), lb()
    one.service.worker_lag, one.service.worker_lag_max = 0.75, 2.0
    two.service.worker_lag, two.service.worker_lag_max = 0.1, 3.0
    totals = Totals(master.service)
    for slot, worker in enumerate((one, two)):
        totals.received(slot, json.loads(json.dumps(report_of(worker.service))))
    totals.write()
    assert (master.service.worker_lag, master.service.worker_lag_max) == (0.75, 3.0)
    assert AlertSampler(master.service, float).sample(0.0, 0.2).lag == 0.75, (
        "what the alert goes by"
    )
    for made in (one, two, master):
        made.close()


def test_failures_of_the_master_s_own_purges_stay_in_the_sum() -> None:
    text = TEXT.replace("listen =", "cache = main\nlisten =")
    text += "[shared]\nredis = redis://10.0.0.9\n[cache main]\nredis = yes\n"
    worker, master = (LB.from_config(text) for _ in range(2))
    cache = master.service.caches["main"]
    cache.purge(Purge("all")).addErrback(lambda _: None)
    worker.service.caches["main"].counters.shared_failures = 5
    totals = Totals(master.service)
    totals.write()
    assert cache.counters.shared_failures == 1
    totals.received(0, json.loads(json.dumps(report_of(worker.service))))
    for _ in range(2):
        totals.write()
        assert cache.counters.shared_failures == 6
