"""Redirects of the targets of a CORS proxy: methods, judgement, bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("ada_url")

from lbproxy.proxy.http.server import H1ServerConnection
from tests.support.opencors import APP, Make, call, moving, serve, started, words


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a CORS proxy with more keys; api.example.com is 10.1.0.1."""
    yield from started()


@pytest.mark.parametrize(
    ("status", "method", "seen"),
    [
        (302, "POST", b"GET "),
        (303, "PUT", b"GET "),
        (307, "POST", b"POST body"),
        (308, "PUT", b"PUT body"),
        (301, "PUT", b"PUT body"),
    ],
)
def test_redirects(make: Make, status: int, method: str, seen: bytes) -> None:
    lb = make()
    serve(lb, moving(status, "http://other.example.com/next"))
    other = serve(lb, moving(500, ""), "10.1.0.2:80")
    headers = {"Authorization": "secret", "Content-Type": "text/plain"}
    response = call(lb, method=method, body=b"body", headers=headers)
    assert (response.status, response.body) == (200, seen)
    assert response.header("X-Final-URL") == "http://other.example.com/next"
    (request,) = other.requests
    assert request.header("Authorization") == ""
    assert bool(request.header("Content-Type")) is seen.endswith(b"body")


@pytest.mark.parametrize("sent", ["é".encode(), "é".encode("latin-1")])
def test_a_redirect_beyond_ascii(make: Make, sent: bytes) -> None:
    lb = make()
    serve(lb, moving(302, "/" + sent.decode("latin-1")))
    assert call(lb).header("X-Final-URL") == "http://api.example.com/%C3%A9"


def test_a_redirect_within_the_origin_keeps_authorization(make: Make) -> None:
    lb = make()
    target = serve(lb, moving(302, "/next"))
    assert call(lb, headers={"Authorization": "secret"}).status == 200
    assert [one.header("Authorization") for one in target.requests] == ["secret", "secret"]


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "//10.0.0.1/",
        "http://localhost/",
        "file:///etc/passwd",
        "http://user@api.example.com/",
        "http://inside.example.com/",
        "http://api.example.com:22/",
    ],
)
def test_redirects_are_judged(make: Make, to: str) -> None:
    lb = make()
    lb.reactor.nameResolver.table["inside.example.com"] = ["10.0.0.1"]
    serve(lb, moving(302, to))
    inside = [serve(lb, b"inside", f"{host}:80") for host in ("127.0.0.1", "10.0.0.1")]
    response = call(lb)
    assert response.status == 403
    assert words(response) == "the request is not allowed"
    assert [one.accepted for one in inside] == [0, 0]


def test_redirects_end(make: Make) -> None:
    lb = make()
    target = serve(lb, moving(302, "/data?again"))
    response = call(lb)
    assert (response.status, len(target.requests)) == (502, 6)


def test_a_body_that_is_too_long_for_a_redirect(make: Make) -> None:
    lb = make(f"origins = {APP}\nredirect_buffer = 8")
    serve(lb, moving(307, "/next"))
    assert call(lb, method="POST", body=b"12345678").status == 200
    assert call(lb, method="POST", body=b"123456789").status == 502


def test_redirects_that_are_passed_on(make: Make) -> None:
    lb = make(f"origins = {APP}\nredirects = pass")
    serve(lb, moving(302, "/next"))
    response = call(lb)
    assert response.status == 302
    assert response.header("Location") == "/?url=http%3A%2F%2Fapi.example.com%2Fnext"
    assert response.header("Access-Control-Allow-Origin") == APP


def test_a_client_that_ends_the_call_while_a_redirect_lets_it_continue(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = H1ServerConnection.send_body

    def full(connection: H1ServerConnection, *given: Any) -> None:
        send(connection, *given)
        connection.pauseProducing()  # as a transport does whose buffer is full

    monkeypatch.setattr(H1ServerConnection, "send_body", full)
    lb = make()
    raw, other = lb.tcp_origin("raw", "10.1.0.1:80"), lb.tcp_origin("other", "10.1.0.2:80")
    client = lb.connect("cors")
    client.send(
        b"POST /?url=http://api.example.com/up HTTP/1.1\r\nHost: p\r\nOrigin: %s\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" % APP.encode()
    )
    client.send(b"3\r\nabc\r\n")
    (connection,) = lb.service.frontends["cors"].clients
    for data in (b"3\r\nabc\r\n", b"no chunk\r\n"):
        connection.dataReceived(data)  # as from a transport that had read it already
    raw.connections[-1].send(
        b"HTTP/1.1 303 See Other\r\nLocation: http://10.1.0.2/next\r\nContent-Length: 0\r\n\r\n"
    )
    assert client.take().startswith(b"HTTP/1.1 400 ")
    lb.advance(1.0)
    assert not other.connections  # nobody waits for this target
