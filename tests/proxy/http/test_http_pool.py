"""Server connections between exchanges: what is kept, what is not, and what a dead one costs."""

from __future__ import annotations

import pytest

from tests.proxy.http_kit import GET, OK, A, post, rigs
from tests.support.tls import ca_file, issue, write

rig = pytest.fixture(rigs)


def pooled(r) -> int:
    return r.state().connector.idle


def test_last_in_first_out(rig):
    r = rig()
    raw = r.raw()
    clients = [r.client() for _ in range(3)]
    for client in clients:
        client.send(GET)
    for connection in raw.connections:
        connection.send(OK)
    assert pooled(r) == 3
    clients[0].send(GET)
    assert [c.received.count(b"GET") for c in raw.connections] == [1, 1, 2]
    clients[1].send(GET)
    assert [c.received.count(b"GET") for c in raw.connections] == [1, 2, 2]
    assert r.state().counters.reused == 2


def test_idle_connections_are_closed(rig):
    r = rig(app="pool_idle = 10s")
    _, server = r.talk()
    server.send(OK)
    r.advance(9.9)
    assert not server.finished
    r.advance(0.2)
    assert server.finished
    assert pooled(r) == 0


def test_pool_size_and_requests(rig):
    r = rig(app="pool_size = 1")
    raw = r.raw()
    clients = [r.client() for _ in range(2)]
    for client in clients:
        client.send(GET)
    for connection in raw.connections:
        connection.send(OK)
    assert [c.finished for c in raw.connections] == [True, False]
    none = rig(app="pool_size = 0")
    _, server = none.talk()
    server.send(OK)
    assert server.finished
    two = rig(app="pool_requests = 2")
    client, server = two.talk()
    server.send(OK)
    client.send(GET)
    assert server.received.endswith(b"Connection: close\r\n\r\n")
    server.send(OK)
    assert server.finished
    client.send(GET)
    assert len(two.lb.origins[A].connections) == 2


def test_a_server_that_says_close_is_not_asked_again(rig):
    r = rig()
    client, server = r.talk()
    server.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert client.received.endswith(b"hi")
    assert server.finished
    assert pooled(r) == 0
    assert not client.finished


def test_a_server_that_closes_an_idle_connection_is_no_failure(rig):
    r = rig()
    client, server = r.talk()
    server.send(OK)
    server.close()
    assert pooled(r) == 0
    client.send(GET)
    r.lb.origins[A].connections[1].send(OK)
    assert r.closes == ["ok", "ok"]
    assert r.state().counters.failed == 0


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("request_", [GET, post(b"hello").replace(b"POST", b"PUT")])
def test_a_dead_pooled_connection_costs_no_retry(rig, how, request_):
    r = rig(app="retries = 0")
    client, server = r.talk()
    server.send(OK)
    client.take()
    client.send(request_)
    getattr(server, how)()
    fresh = r.lb.origins[A].connections[1]
    assert fresh.received.split(b" ")[0] == request_.split(b" ")[0]
    fresh.send(OK)
    assert client.received.endswith(b"hi")
    assert [(x.close.value, x.attempts) for x in r.log] == [("ok", 1), ("ok", 1)]
    assert r.state().counters.failed == 0


def test_the_fresh_connection_is_not_replaced_again(rig):
    r = rig(app="retries = 0")
    client, server = r.talk()
    server.send(OK)
    client.take()
    client.send(GET)
    server.close()
    r.lb.origins[A].connections[1].close()
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert r.closes == ["ok", "server_gone"]


def test_a_post_on_a_dead_pooled_connection_is_502(rig):
    r = rig()
    client, server = r.talk()
    server.send(OK)
    client.take()
    client.send(post(b"pay"))
    server.close()
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert len(r.lb.origins[A].connections) == 1


def test_bytes_nobody_asked_for_close_an_idle_connection(rig):
    r = rig()
    client, server = r.talk()
    server.send(OK)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    assert server.closed
    client.take()
    client.send(GET)
    fresh = r.lb.origins[A].connections[1]
    fresh.send(OK)
    assert client.received.endswith(b"hi")
    assert b"evil" not in client.received


@pytest.mark.parametrize(
    "extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"\r\n", b"x"]
)
def test_bytes_after_an_answer_never_reach_the_next_client(rig, extra):
    r = rig()
    client, server = r.talk()
    server.send(OK + extra)
    assert client.received.endswith(b"hi")
    assert pooled(r) == 0
    other = r.client()
    other.send(GET)
    fresh = r.lb.origins[A].connections[1]
    fresh.send(OK)
    assert other.received.endswith(b"hi")
    assert b"evil" not in other.received + client.received
    assert r.closes == ["ok", "ok"]


def test_a_connection_with_a_request_unsent_is_not_used_again(rig):
    r = rig()
    raw = r.raw()
    client = r.client()
    client.send(post(b"", length=900_000))
    server = raw.connections[0]
    server.pause()
    client.send(b"x" * 900_000)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert client.received.endswith(b"hi")
    assert pooled(r) == 0


def test_servers_that_are_not_up_keep_nothing(rig):
    r = rig()
    raw = r.raw()
    first, second = r.client(), r.client()
    first.send(GET)
    second.send(GET)
    idle, busy = raw.connections
    idle.send(OK)
    r.backend.group.set_health(r.state(), False)
    r.advance(0)
    assert idle.finished
    busy.send(OK)
    assert second.received.endswith(b"hi")
    assert busy.finished


def test_send_proxy_connections_serve_one_client(rig):
    r = rig(servers=f"a {A} send_proxy=v1")
    _, server = r.talk()
    assert server.received.startswith(b"PROXY TCP4 203.0.113.9 ")
    assert b"Connection: close" in server.received
    server.send(OK)
    assert server.finished
    assert pooled(r) == 0


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("", " send_proxy=v1", False),
        (" send_proxy=v1", "", False),
        ("", " weight=3", True),
        (" tls=yes sni=a.example verify=no", " tls=yes sni=b.example verify=no", False),
        (" tls=yes sni=a.example ca={ca}", " tls=yes sni=a.example verify=no", False),
        (
            " tls=yes sni=a.example verify=no",
            " tls=yes sni=a.example verify=no certificate=me",
            False,
        ),
        (
            " tls=yes sni=a.example verify=no",
            " tls=yes sni=a.example verify=no maxconn=5",
            True,
        ),
    ],
)
def test_a_connection_on_other_terms_is_not_used_again(rig, tmp_path, old, new, kept):
    """Connections are made anew when a reload changes how: nothing else may be reused."""
    pem, ca = write(issue("a.example", "b.example"), tmp_path), ca_file(tmp_path)
    r = rig(
        servers=f"a {A}{old.format(ca=ca)}", sections=f"\n[certificate me]\ncertificate = {pem}\n"
    )
    terms = r.state().connector.epoch
    r.reload("")
    assert r.state().connector.epoch == terms, "nothing has changed"
    text = r._text.replace(f"a {A}{old.format(ca=ca)}", f"a {A}{new}")
    assert r.lb.service.reload(text).ok
    assert (r.state().connector.epoch == terms) is kept


def test_an_idle_connection_on_other_terms_is_closed(rig):
    r = rig()
    client, server = r.talk()
    server.send(OK)
    assert pooled(r) == 1
    assert r.lb.service.reload(r._text.replace(f"a {A}", f"a {A} send_proxy=v1")).ok
    r._lead()
    r.advance(0)
    assert server.finished
    client.send(GET)
    fresh = r.lb.origins[A].connections[1]
    assert fresh.received.startswith(b"PROXY TCP4 ")
    fresh.send(OK)
