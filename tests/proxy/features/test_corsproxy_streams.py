"""Streams and connections of a CORS proxy: bodies, pauses, WebSockets, pools."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("ada_url")

from lbproxy.proxy.features.corsproxy.keptbody import KeptBody
from lbproxy.proxy.features.corsproxy.lookups import LOOKUPS_MAX
from lbproxy.proxy.http.server import H1ServerConnection
from lbproxy.proxy.unsent import unsent_bytes
from lbproxy.testing.origin import Answer, Request
from lbproxy.tls.clientcontext import ClientContextFactory
from tests.support.opencors import APP, Make, call, moving, serve, started


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a CORS proxy with more keys; api.example.com is 10.1.0.1."""
    yield from started()


def test_a_body_and_a_reused_connection(make: Make) -> None:
    lb = make()
    target = serve(lb, lambda request: Answer(201, request.body[::-1]))
    for _ in range(3):
        response = call(lb, method="POST", body=b"body", headers={"Content-Type": "text/plain"})
        assert (response.status, response.body) == (201, b"ydob")
    assert target.accepted == 1


def test_a_pooled_connection_that_died(make: Make) -> None:
    lb = make()
    target = serve(lb)
    assert call(lb).status == 200
    target.stop()
    target.start()
    assert call(lb).status == 200


UPGRADE = (
    b"GET /?url=ws%3A%2F%2Fapi.example.com%2Fsocket HTTP/1.1\r\nHost: proxy\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
)


SWITCH = (
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSet-Cookie: a\r\n\r\n"
)


def test_a_websocket(make: Make) -> None:
    lb = make()
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(UPGRADE + b"Origin: https://app.example.com\r\n\r\n")
    server = raw.connections[-1]
    head = bytes(server.received)
    assert head.startswith(b"GET /socket HTTP/1.1\r\nHost: api.example.com\r\n")
    assert b"Upgrade: websocket\r\n" in head
    assert b"Sec-WebSocket-Key: x\r\n" in head
    server.send(SWITCH + b"first")
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"\r\n\r\nfirst")
    assert b"Set-Cookie" not in answer
    lb.advance(300.0)  # an open socket may be older than timeout_total
    server.received = b""
    client.send(b"ping")
    assert bytes(server.received) == b"ping"
    server.send(b"pong")
    assert client.take() == b"pong"
    client.close()
    assert server.finished


def test_a_websocket_of_another_origin_is_refused(make: Make) -> None:
    lb = make()
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    for line in (b"", b"Origin: https://evil.example\r\n"):
        client = lb.connect("cors")
        client.send(UPGRADE + line + b"\r\n")
        assert client.take().startswith(b"HTTP/1.1 403 ")
    assert raw.connections == []


def test_a_ws_url_needs_a_handshake(make: Make) -> None:
    lb = make()
    assert call(lb, "wss://api.example.com/").status == 400


def test_streams_both_ways(make: Make) -> None:
    lb = make(f"origins = {APP}\nredirect_buffer = 0")
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(
        b"POST /?url=http://api.example.com/up HTTP/1.1\r\nHost: proxy\r\n"
        b"Origin: https://app.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    )
    server = raw.connections[-1]
    assert bytes(server.received).endswith(b"3\r\nabc\r\n")
    client.send(b"2\r\nde\r\n0\r\n\r\n")
    assert bytes(server.received).endswith(b"2\r\nde\r\n0\r\n\r\n")
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n")
    assert client.take().endswith(b"\r\n\r\n4\r\ndata\r\n")
    lb.advance(20.0)
    server.send(b"3\r\nend\r\n")
    assert client.take().endswith(b"3\r\nend\r\n")
    lb.advance(11.0)  # more than timeout_total in all
    assert server.closed
    assert client.closed


def test_a_client_that_leaves_ends_the_fetch(make: Make) -> None:
    lb = make()
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(
        b"GET /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\nOrigin: %s\r\n\r\n"
        % APP.encode()
    )
    assert len(raw.connections) == 1
    client.abort()
    assert raw.connections[0].closed


def test_expect_continue(make: Make) -> None:
    lb = make()
    serve(lb, lambda request: Answer(200, request.body))
    client = lb.connect("cors")
    client.send(
        b"POST /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\nOrigin: %s\r\n"
        b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n" % APP.encode()
    )
    assert client.take().startswith(b"HTTP/1.1 100 ")
    client.send(b"hi")
    assert client.take().endswith(b"\r\n\r\nhi")


def test_a_switch_that_was_not_asked_for(make: Make) -> None:
    lb = make()
    serve(lb, Answer(raw=SWITCH + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
    response = call(lb)
    assert response.status == 502
    assert b"evil" not in response.body


def test_a_switch_to_another_protocol(make: Make) -> None:
    lb = make()
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(UPGRADE + b"Origin: https://app.example.com\r\n\r\n")
    raw.connections[-1].send(SWITCH.replace(b"websocket", b"other"))
    assert client.take().startswith(b"HTTP/1.1 502 ")


def test_a_body_that_a_redirect_drops_is_not_kept(make: Make) -> None:
    lb = make("open = yes\nmax_body = 1g\nredirect_buffer = 8k")
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(
        b"POST /?url=http://api.example.com/up HTTP/1.1\r\nHost: p\r\n"
        b"Content-Length: 2000000\r\n\r\nabc"
    )
    before = sum(len(one._parts) for one in gc.get_objects() if type(one) is KeptBody)
    raw.connections[-1].send(
        b"HTTP/1.1 303 See Other\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    )
    for _ in range(200):
        client.send(b"x" * 5000)
    kept = sum(len(one._parts) for one in gc.get_objects() if type(one) is KeptBody)
    assert kept <= before
    server = raw.connections[-1]
    assert bytes(server.received).startswith(b"GET /other HTTP/1.1\r\n")
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.take().endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("challenged", [False, True])
def test_a_connection_with_an_identity_serves_one_request(make: Make, challenged: bool) -> None:
    lb = make()
    answer = Answer(401, b"", {"WWW-Authenticate": "NTLM"}) if challenged else Answer(200, b"me")
    target = serve(lb, lambda request: answer)
    headers = {} if challenged else {"Authorization": "NTLM abc"}
    assert call(lb, headers=headers).status == answer.status
    call(lb)
    assert target.accepted == 2


def test_a_target_that_does_not_read_pauses_the_client(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, made = H1ServerConnection.send_request, []

    def send(connection: H1ServerConnection, *given: Any) -> None:
        full(connection, *given)
        connection.pauseProducing()  # as a transport does whose buffer is full
        made.append(connection)

    monkeypatch.setattr(H1ServerConnection, "send_request", send)
    lb = make("open = yes\nmax_body = 1g")
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(
        b"POST /?url=http://api.example.com/up HTTP/1.1\r\nHost: p\r\n"
        b"Content-Length: 200000\r\n\r\n"
    )
    client.send(b"x" * 200000)
    assert len(raw.connections[-1].received) < 1000
    made[-1].resumeProducing()
    lb.advance(0.1)
    assert len(raw.connections[-1].received) > 200000


def test_a_client_that_does_not_read_stops_the_target(make: Make) -> None:
    lb = make("open = yes\nmax_response = 1g")
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(b"GET /?url=http://api.example.com/big HTTP/1.1\r\nHost: p\r\n\r\n")
    server, body = raw.connections[-1], b"x" * 3_000_000
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(body)))
    for _ in range(2):
        client.pause()
        server.send(body)
        assert unsent_bytes(server.transport) > 2_000_000
        client.resume()
    assert client.take().endswith(2 * body)


def test_a_body_that_waits_for_the_target_is_bounded(make: Make) -> None:
    lb = make("open = yes\nmax_body = 1g")
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    lb.reactor.slow("10.1.0.1:80", 0.01)
    client = lb.connect("cors")
    head = b"POST /?url=http://api.example.com/up HTTP/1.1\r\nHost: p\r\n"
    client.send(b"%bContent-Length: 2000000\r\n\r\n" % head + b"x" * 2_000_000)
    assert unsent_bytes(client.transport) > 1_500_000
    lb.advance(5)
    assert raw.connections[-1].received.endswith(b"x" * 2_000_000)


def test_trailers_are_not_passed(make: Make) -> None:
    lb = make("open = yes")
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(
        b"POST /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n1\r\na\r\n0\r\nX-Api-Key: K\r\n\r\n"
    )
    server = raw.connections[-1]
    assert bytes(server.received).endswith(b"1\r\na\r\n0\r\n\r\n")
    server.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\nAccess-Control-Allow-Origin: *\r\n\r\n"
    )
    assert client.take().endswith(b"1\r\na\r\n0\r\n\r\n")


def test_a_redirect_to_a_websocket_is_not_followed(make: Make) -> None:
    lb = make()
    target = serve(lb, moving(302, "ws://api.example.com/next"))
    assert call(lb).status == 502
    assert len(target.requests) == 1


def test_the_authorities_are_read_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lb = make("open = yes")
    read = []
    full = ClientContextFactory.__init__

    def count(self: ClientContextFactory, *given: Any, **options: Any) -> None:
        read.append(given)
        full(self, *given, **options)

    monkeypatch.setattr(ClientContextFactory, "__init__", count)
    for name in "abc":
        lb.reactor.nameResolver.table[f"{name}.example.com"] = ["10.1.0.1"]
        assert call(lb, f"https://{name}.example.com/").status == 502  # nobody listens
    assert read == []


def test_calls_of_the_proxy_to_itself_end(make: Make) -> None:
    lb = make("open = yes")
    seen = []

    def handle(request: Request) -> Answer:
        """The public address of the proxy, of which it knows nothing."""
        seen.append(request.header("Via"))
        return Answer(200, b"")

    serve(lb, handle)
    via, status = "", 200
    for _ in range(12):
        status = call(lb, headers={"Via": via} if via else {}).status
        via = seen[-1]
    assert (status, len(seen)) == (508, 10)
    assert seen[1] == "1.1 lbproxy, 1.1 lbproxy"


def test_the_origin_that_was_used_last_keeps_its_connections(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproxy.proxy.features.corsproxy.targets.ORIGINS_MAX", 2)
    lb = make()
    target = serve(lb)
    other = serve(lb, address="10.1.0.2:80")
    call(lb)
    call(lb, "http://other.example.com/")
    call(lb)
    lb.reactor.nameResolver.table["third.example.com"] = ["10.1.0.2"]
    call(lb, "http://third.example.com/")
    call(lb)
    assert (target.accepted, other.accepted) == (1, 2)


def test_slow_names_hold_few_threads(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lb = make("open = yes")
    serve(lb)
    resolver = lb.reactor.nameResolver
    full, asked = resolver.resolveHostName, []

    def slow(receiver: Any, name: str, *given: Any, **options: Any) -> Any:
        if not name.startswith("slow"):
            return full(receiver, name, *given, **options)
        asked.append(receiver)
        return None

    monkeypatch.setattr(resolver, "resolveHostName", slow)
    clients = []
    for number in range(20):
        clients.append(lb.connect("cors"))
        clients[-1].send(
            b"GET /?url=http://slow%d.example.com/ HTTP/1.1\r\nHost: p\r\n\r\n" % number
        )
    assert len(asked) == LOOKUPS_MAX
    for client in clients:
        client.abort()
    lb.advance(1.0)
    assert len(asked) == LOOKUPS_MAX  # threads cannot be stopped
    waiting = lb.connect("cors")
    waiting.send(b"GET /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\n\r\n")
    lb.advance(1.0)
    assert waiting.take() == b""
    asked[0].resolutionComplete()
    lb.advance(1.0)
    assert waiting.take().startswith(b"HTTP/1.1 200 ")
    for receiver in asked[1:]:
        receiver.resolutionComplete()
    assert call(lb, "http://nothing.example.com/").status == 502
