"""An access log that fails costs its lines, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.testing import LB
from tests.proxy.http_kit import GET, OK, A, rigs

rig = pytest.fixture(rigs)


def failing(record: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_request_whose_line_cannot_be_written_is_over_all_the_same(rig) -> None:
    r = rig()
    log = r.frontend.write_log

    def log_and_fail(record: Any) -> None:
        log(record)
        failing(record)

    r.frontend.write_log = log_and_fail
    r.lb.tcp_origin("a", A, lambda data: OK)
    client = r.client()
    for count in (1, 2):
        client.send(GET)
        r.advance(0.1)
        assert client.received.count(b"200 OK") == count
        assert (r.state().active, r.state().sessions) == (0, set())
        assert r.state().connector.idle == 1
        assert r.frontend.counters.log_errors == count
    assert not client.closed


def test_who_follows_the_log_cannot_stop_it(rig) -> None:
    r = rig()
    r.frontend.followers = (failing,)
    r.lb.tcp_origin("a", A, lambda data: OK)
    client = r.client()
    client.send(GET + GET)
    r.advance(0.1)
    assert client.received.count(b"200 OK") == 2
    assert r.closes == ["ok", "ok"]
    assert r.frontend.counters.log_errors == 2


def test_a_session_whose_line_cannot_be_written_is_closed_all_the_same() -> None:
    lb = LB.from_config(
        "[frontend db]\nmode = tcp\nlisten = tcp:5432\nbackend = pg\n"
        "[backend pg]\nmode = tcp\nservers = a 10.0.0.1:5432\n"
    )
    lb.tcp_origin("a", "10.0.0.1:5432")
    frontend = lb.service.frontends["db"]
    frontend.write_log = failing
    client = lb.connect("db")
    client.send(b"x")
    client.abort()
    lb.advance(0.1)
    assert frontend.clients == set()
    assert lb.backend("pg").group.servers["a"].active == 0
    assert frontend.counters.log_errors == 1
    lb.close()


TEXT = """
[frontend web]
listen = tcp:8080
backend = app
max_url = {}

[backend app]
servers = a 10.0.0.1:8000
"""


def test_a_new_frontend_has_the_followers_of_the_last_one_only() -> None:
    """One before it, which a connection still uses, may have had others."""
    lb = LB.from_config(TEXT.format(1000))
    lb.tcp_origin("a", A)  # answers nothing
    frontends = [lb.service.frontends["web"]]
    frontends[0].followers = (failing,)
    client = lb.connect("web")
    client.send(GET)
    for size in (2000, 3000):
        assert lb.service.reload(TEXT.format(size)).ok
        frontends.append(lb.service.frontends["web"])
        assert frontends[-1] is not frontends[-2]
        assert frontends[-1].followers == ((failing,) if size == 2000 else ())
        frontends[-1].followers = ()
    client.abort()
    lb.advance(0.1)
    lb.close()
