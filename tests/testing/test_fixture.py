"""The load balancer as a test fixture: a real one, in memory."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from lbproxy.testing import LoadBalancerFixture, NoResponse
from lbproxy.testing.origin import Answer

CONFIG = """
    [frontend web]
    listen = tcp:8080
    backend = app

    [backend app]
    balance = roundrobin
    timeout_response = 5s
    check = http GET /healthz expect=200 every=1s rise=1 fall=2
    servers =
        a 10.0.0.1:8000
        b 10.0.0.2:8000

    [frontend db]
    mode = tcp
    listen = tcp:5432
    backend = pg

    [backend pg]
    servers = db1 10.0.0.21:5432
"""


@pytest.fixture
def lb(lbproxy_factory):
    return lbproxy_factory(CONFIG)


def test_both_servers_answer(lb):
    a = lb.origin("a", "10.0.0.1:8000", b"hello from a")
    lb.origin("b", "10.0.0.2:8000", lambda request: request.path)
    answers = [lb.get("http://example.com/x?y=1", client="203.0.113.7") for _ in range(4)]
    assert sorted((r.status, r.server, r.body) for r in answers) == [
        (200, "a", b"hello from a"),
        (200, "a", b"hello from a"),
        (200, "b", b"/x"),
        (200, "b", b"/x"),
    ]
    request = next(r for r in a.requests if r.path == "/x")
    assert request.header("host") == "example.com"
    assert request.header("x-forwarded-for") == "203.0.113.7"


def test_a_stopped_server_is_retried_elsewhere_and_comes_back(lb):
    a = lb.origin("a", "10.0.0.1:8000")
    lb.origin("b", "10.0.0.2:8000")
    lb.advance(2)
    a.stop()
    assert [lb.get("http://example.com/").server for _ in range(3)] == ["b"] * 3
    lb.advance(5)
    assert lb.server("app", "a").state.value == "down"
    a.start()
    lb.advance(5)
    assert lb.server("app", "a").state.value == "up"
    assert {lb.get("http://example.com/").server for _ in range(3)} == {"a", "b"}


def test_a_hung_server_costs_its_timeout_and_no_more(lb):
    for name, address in (("a", "10.0.0.1:8000"), ("b", "10.0.0.2:8000")):
        lb.origin(name, address).hang()
    start = lb.reactor.seconds()
    assert lb.get("http://example.com/").status == 504
    assert 5 <= lb.reactor.seconds() - start < 6


def test_no_answer_is_an_error_that_says_so(lb):
    lb.origin("a", "10.0.0.1:8000").hang()
    lb.origin("b", "10.0.0.2:8000").hang()
    with pytest.raises(NoResponse, match="nothing for 1 s"):
        lb.get("http://example.com/", within=1)


def test_bodies_and_keep_alive(lb):
    for name, address in (("a", "10.0.0.1:8000"), ("b", "10.0.0.2:8000")):
        lb.origin(name, address, lambda request: Answer(201, request.body[::-1]))
    connection = lb.connect("web")
    for number in range(3):
        body = b"%d" % number * 1000
        response = lb.request("POST", "http://example.com/", body=body + b"!", via=connection)
        assert (response.status, response.body) == (201, b"!" + body)
    assert not connection.closed


def test_tcp(lb):
    origin = lb.tcp_origin("db1", "10.0.0.21:5432", "echo")
    client = lb.connect("db")
    client.send(b"hello")
    assert client.take() == b"hello"
    client.close()
    assert client.closed
    assert origin.connections[0].closed
    assert lb.server("pg", "db1").active == 0


def test_mistakes_are_explained(lb):
    with pytest.raises(LookupError, match="no frontend 'nosuch'; there are: web, db"):
        lb.connect("nosuch")
    with pytest.raises(LookupError, match="no https listener"):
        lb.get("https://example.com/")


def test_access_logs_are_in_memory() -> None:
    text = """
        [lbproxy]
        access_log = /nonexistent/folder/access.log json
        more_logs = errors.log json if status 4xx

        [frontend web]
        listen = tcp:8080
        routes =
            path /ok -> reply 200 fine
            default  -> reply 404 no
    """
    with LoadBalancerFixture.from_config(text) as lb:
        assert lb.log_lines() == []
        lb.get("http://x.example:8080/ok")
        lb.get("http://x.example:8080/missing")
        seen = [
            json.loads(line)["target"] for line in lb.log_lines("/nonexistent/folder/access.log")
        ]
        assert seen == ["/ok", "/missing"]
        assert len(lb.log_lines()) == 3
        assert lb.service.reload(dedent(text)).ok
        lb.service.reopen_logs()
        lb.get("http://x.example:8080/ok")
        assert len(lb.log_lines()) == 4
        with pytest.raises(KeyError):
            lb.log_lines("other.log")
