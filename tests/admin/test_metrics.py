"""``/metrics``: what Prometheus reads of it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from lbproxy.admin.exposition import (
    OPENMETRICS,
    PROMETHEUS,
    Family,
    accepts_openmetrics,
    labels,
    render,
)
from lbproxy.admin.parts.metrics import (
    BACKEND_COUNTERS,
    FRONTEND_COUNTERS,
    SERVER_COUNTERS,
    families,
)
from lbproxy.balance.server import ServerCounters
from lbproxy.logs.sink import BUFFER_BYTES
from lbproxy.observe.metrics import BackendCounters, FrontendCounters

from .kit import TEXT, AdminClient, admin


def samples(text: str, parse: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels."""
    found = {}
    for family in parse(text):
        assert family.type in ("counter", "gauge", "histogram")
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def scrape(client: AdminClient) -> dict[Any, float]:
    response = client.ask("GET", "/metrics").response
    assert response.header("Content-Type") == PROMETHEUS
    return samples(response.text, prometheus)


def test_both_formats_say_the_same() -> None:
    with admin() as client:
        client.lb.get("http://x/", frontend="web")
        plain = scrape(client)
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        response = client.ask("GET", "/metrics", Accept=accept).response
        assert response.header("Content-Type") == OPENMETRICS
        assert response.text.endswith("# EOF\n")
        rich = samples(response.text, openmetrics)
        assert plain.keys() == rich.keys()
        web = (("frontend", "web"),)
        assert plain["lbproxy_frontend_requests_total", web] == 1
        assert rich["lbproxy_frontend_requests_total", web] == 1


def test_what_traffic_does_to_them() -> None:
    with admin() as client:
        client.lb.origins["a"].stop()
        for _ in range(8):
            assert client.lb.get("http://x/", frontend="web").status == 200
        client.lb.get("http://old.example/", frontend="web")
        client.lb.tcp_origin("db1", "10.0.2.1:5432", lambda data: data)
        session = client.lb.connect("db")
        session.send(b"hello")
        seen = scrape(client)

        def of(name: str, **wanted: str) -> float:
            return seen[f"lbproxy_{name}", tuple(sorted(wanted.items()))]

        assert of("frontend_requests_total", frontend="web") == 9
        assert of("frontend_responses_total", frontend="web", code="2xx") == 8
        assert of("frontend_responses_total", frontend="web", code="3xx") == 1
        assert of("frontend_closes_total", frontend="web", close="replied") == 1
        assert of("frontend_connections_active", frontend="db") == 1
        assert of("server_active", backend="pg", server="db1") == 1
        assert of("frontend_request_seconds_count", frontend="web") == 9
        assert of("frontend_request_seconds_bucket", frontend="web", le="+Inf") == 9
        assert of("backend_response_seconds_count", backend="app") == 8
        assert of("server_connect_errors_total", backend="app", server="a") > 0
        assert of("server_state", backend="app", server="b", state="up") == 1
        assert of("server_up", backend="app", server="b") == 1
        retries = of("backend_retries_total", backend="app")
        assert retries == of("server_connect_errors_total", backend="app", server="a")
        session.close()
        client.lb.advance(1)
        seen = scrape(client)
        assert of("frontend_request_seconds_count", frontend="db") == 1
        assert of("backend_connect_seconds_count", backend="pg") == 1
        client.lb.service.maint("app", "b")
        seen = scrape(client)
        assert of("server_state", backend="app", server="b", state="maint") == 1
        assert of("server_up", backend="app", server="b") == 0


def test_names_follow_the_conventions() -> None:
    """https://prometheus.io/docs/practices/naming/"""
    with admin() as client:
        for family in families(client.lb.service.admin):
            assert family.name.startswith(("lbproxy_", "process_", "python_")), family.name
            assert not family.name.endswith("_total"), family.name
            assert not family.name.endswith(("_ms", "_us", "_kb", "_percent")), family.name
            assert family.help.endswith("."), family.help
            assert (family.kind == "histogram") <= family.name.endswith("_seconds")
            for label, _ in family.samples:
                assert label == "" or tuple(label[1:-1].count("=") for _ in (0,)) == (
                    len(family.labels),
                )


@pytest.mark.parametrize(
    ("counters", "table"),
    [
        (FrontendCounters, FRONTEND_COUNTERS),
        (BackendCounters, BACKEND_COUNTERS),
        (ServerCounters, SERVER_COUNTERS),
    ],
)
def test_whatever_is_counted_is_a_metric(counters: Any, table: Any) -> None:
    counted = {name for name, value in vars_of(counters()) if type(value) is int}
    assert counted == {attribute for _, attribute, _ in table}


def vars_of(made: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(made, name)) for name in dir(made)]


def test_no_times_are_measured_for_nobody() -> None:
    with admin(TEXT.replace("admin = ", "access_log = off #")) as client:
        assert client.lb.service.admin is None
        assert client.lb.service.frontend("web").counters.request_seconds is None
        assert client.lb.backend("app").counters.response_seconds is None


def test_without_servers() -> None:
    with admin(TEXT.replace("admin = ", "metrics_servers = no\nadmin = ")) as client:
        names = {name for name, _ in scrape(client)}
        assert "lbproxy_backend_servers" in names
        assert not [name for name in names if name.startswith("lbproxy_server_")]


def test_labels_are_escaped() -> None:
    nasty = 'a"b\\c\nd'
    family = Family("lbproxy_x", "gauge", "Back\\slash.", [(labels(name=nasty), 1)])
    for parse, rich in ((prometheus, False), (openmetrics, True)):
        text = b"".join(render([family], openmetrics=rich)).decode()
        (found,) = parse(text)
        assert found.samples[0].labels == {"name": nasty}
        assert found.documentation == "Back\\slash."


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("text/plain;q=0.5, application/openmetrics-text; version=1.0.0;q=0.75", True),
        ("application/openmetrics-text;q=0", False),
    ],
)
def test_which_format(accept: str, wanted: bool) -> None:
    assert accepts_openmetrics(accept) is wanted


def test_a_thousand_servers_are_written_fast_and_in_small_pieces() -> None:
    lines = "\n".join(f"    n{n} 10.1.{n // 250}.{n % 250 + 1}:80" for n in range(1000))
    text = TEXT.replace("servers = s1 10.0.1.1:8000", f"servers =\n{lines}")
    with admin(text) as client:
        service = client.lb.service.admin
        best = 9.9
        for _ in range(5):
            began = time.process_time()
            pieces = list(render(families(service), openmetrics=False))
            best = min(best, time.process_time() - began)
        assert best < 0.15, f"{best * 1e3:.1f} ms of processor time"
        assert sum(map(len, pieces)) > 1_000_000
        assert max(piece.count(b"\n") for piece in pieces) <= 2002
        assert len(scrape(client)) > 20_000


def test_lines_that_a_log_lost(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    text = f"[lbproxy]\naccess_log = {path}\n" + TEXT.removeprefix("[lbproxy]\n")
    with admin(text, sinks=None) as client:
        (sink,) = client.lb.service.log_sinks()
        sink._fd, gone = -1, sink._fd
        os.close(gone)
        path.unlink()
        path.mkdir()  # nothing can be written there
        for _ in range(BUFFER_BYTES // 1000 + 5):
            sink.write(b"x" * 999 + b"\n")
        assert sink.dropped > 0
        labels = (("log", str(path)),)
        assert scrape(client)["lbproxy_log_dropped_lines_total", labels] == sink.dropped
