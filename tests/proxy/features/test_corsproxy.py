"""``mode = corsproxy`` in memory: calls, policies, redirects, streams and refusals."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("ada_url")

from lbproxy.config.errors import ConfigErrors
from lbproxy.decide.explain import explain_http
from lbproxy.proxy.features.corsproxy.keptbody import KeptBody
from lbproxy.proxy.features.corsproxy.lookups import LOOKUPS_MAX
from lbproxy.proxy.http.server import H1ServerConnection
from lbproxy.proxy.unsent import unsent_bytes
from lbproxy.registry import parse_config
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from lbproxy.tls.clientcontext import ClientContextFactory

APP = "https://app.example.com"
TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
[frontend cors]
mode = corsproxy
listen = tcp:8090
access_log = log json
{keys}
"""

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a CORS proxy with more keys; api.example.com is 10.1.0.1."""
    made = []

    def start(keys: str = f"origins = {APP}") -> LoadBalancerFixture:
        lb = LB.from_config(TEXT.format(keys=keys))
        made.append(lb)
        lb.reactor.nameResolver.table["api.example.com"] = ["10.1.0.1"]
        lb.reactor.nameResolver.table["other.example.com"] = ["10.1.0.2"]
        return lb

    yield start
    for lb in made:
        lb.close()


def serve(lb: LoadBalancerFixture, handler: Any = b"ok", address: str = "10.1.0.1:80") -> Any:
    return lb.origin(address, address, handler)


def call(
    lb: LoadBalancerFixture,
    url: str = "http://api.example.com/data?x=1",
    method: str = "GET",
    origin: str | None = APP,
    more: str = "",
    **options: Any,
) -> Response:
    """Call the proxy from a page of ``origin``."""
    headers = dict(options.pop("headers", {}))
    if origin is not None:
        headers["Origin"] = origin
    target = f"http://proxy:8090/?url={quote(url, safe='')}{more}"
    return lb.request(method, target, headers=headers, **options)


def words(response: Response) -> str:
    """Return the message of a JSON error."""
    error = json.loads(response.body)["error"]
    assert error["status"] == response.status
    assert error["requestId"]
    return str(error["message"])


def test_a_call(make: Make) -> None:
    lb = make()
    target = serve(lb, Answer(200, b"hello", {"Set-Cookie": "a=b", "X-A": "1"}))
    response = call(lb, headers={"Cookie": "c=d", "X-Forwarded-For": "192.0.2.1", "X-B": "2"})
    assert (response.status, response.body) == (200, b"hello")
    assert response.header("Access-Control-Allow-Origin") == APP
    assert response.header("Vary") == "Origin"
    assert response.header("X-Final-URL") == "http://api.example.com/data?x=1"
    assert response.header("Content-Security-Policy") == "sandbox"
    assert response.header("X-Content-Type-Options") == "nosniff"
    assert response.header("X-A") == "1"
    assert response.header("Set-Cookie") == ""
    (request,) = target.requests
    assert (request.method, request.target, request.header("Host")) == (
        "GET",
        "/data?x=1",
        "api.example.com",
    )
    assert request.header("X-B") == "2"
    assert request.header("Cookie") == request.header("X-Forwarded-For") == ""
    assert request.header("X-Forwarded-Host") == ""
    assert request.header("Via") == "1.1 lbproxy"


def test_forms_and_header(make: Make) -> None:
    lb = make("open = yes")
    target = serve(lb)
    for path, headers in (
        ("/http://api.example.com/1", {}),
        ("/api.example.com/2", {}),
        ("/?http%3A%2F%2Fapi.example.com%2F3", {}),
        ("/?url=http://api.example.com/4?a=b&key=SECRET", {}),
        ("/", {"X-Target-URL": "http://api.example.com/5"}),
    ):
        assert lb.get(f"http://proxy:8090{path}", headers=headers).status == 200
    assert [one.target for one in target.requests] == ["/1", "/2", "/3", "/4?a=b", "/5"]
    assert "SECRET" not in "".join(lb.log_lines())
    assert "key=***" in "".join(lb.log_lines())


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


def test_origins(make: Make) -> None:
    lb = make()
    target = serve(lb)
    for origin in ("https://evil.example", f"{APP}.evil.example", "null", f"{APP}:8443"):
        response = call(lb, origin=origin)
        assert response.status == 403
        assert words(response) == "this origin may not use the proxy"
        assert response.header("Access-Control-Allow-Origin") == ""
    response = call(lb, origin=None)
    assert (response.status, words(response)) == (403, "Origin is missing")
    assert target.requests == []


def test_preflight(make: Make) -> None:
    lb = make()
    target = serve(lb)
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}
    response = call(lb, method="OPTIONS", headers=asked)
    assert response.status == 204
    assert response.header("Access-Control-Allow-Methods") == "PUT"
    assert response.header("Access-Control-Allow-Headers") == "x-a"
    assert response.header("Access-Control-Allow-Credentials") == ""
    assert target.requests == []
    assert call(lb, method="OPTIONS", origin="https://evil.example", headers=asked).status == 403
    asked["Access-Control-Request-Method"] = "a b"
    assert call(lb, method="OPTIONS", headers=asked).status == 400
    assert call(lb, method="OPTIONS").status == 200  # goes to the target
    assert [one.method for one in target.requests] == ["OPTIONS"]


def test_navigations_and_service_workers_are_refused(make: Make) -> None:
    lb = make("open = yes")
    target = serve(lb)
    for headers in ({"Sec-Fetch-Mode": "navigate"}, {"Service-Worker": "script"}):
        assert call(lb, headers=headers).status == 403
    assert target.requests == []


def test_pages(make: Make) -> None:
    lb = make()
    page = lb.get("http://proxy:8090/", headers={"Sec-Fetch-Mode": "navigate"})
    assert page.status == 200
    assert "CORS proxy" in page.text
    assert "default-src 'none'" in page.header("Content-Security-Policy")
    for path in ("/favicon.ico", "/nothing", "/?x"):
        response = lb.get(f"http://proxy:8090{path}", headers={"Origin": APP})
        assert response.status in (400, 404)
        assert response.header("Access-Control-Allow-Origin") == APP


def test_parameters(make: Make) -> None:
    lb = make()
    target = serve(lb, Answer(200, b"x", {"Cache-Control": "no-store", "Server": "s"}))
    response = call(
        lb,
        more="&reqHeaders=accept:a%2Fb&reqHeaders=user-agent:&reqHeaders=cookie:c"
        "&resHeaders=cache-control:max-age%3D5&resHeaders=access-control-allow-origin:*",
        headers={"User-Agent": "u"},
    )
    assert response.header("Cache-Control") == "max-age=5"
    assert response.header_values("Access-Control-Allow-Origin") == [APP]
    (request,) = target.requests
    assert (request.header("accept"), request.header("cookie")) == ("a/b", "")
    assert request.header("user-agent") == ""
    assert call(lb, more="&unknown=1").status == 400


def moving(status: int, to: str) -> Callable[[Request], Answer]:
    """An origin that redirects /data, and echoes elsewhere."""

    def handle(request: Request) -> Answer:
        if request.target.startswith("/data"):
            return Answer(status, b"moved", {"Location": to})
        return Answer(200, request.method.encode() + b" " + request.body)

    return handle


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


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["10.1.0.1", "127.0.0.1"], ["::1"], ["169.254.169.254"], []]
)
def test_addresses_of_names_are_judged(make: Make, addresses: list[str]) -> None:
    lb = make()
    lb.reactor.nameResolver.table["bad.example.com"] = addresses
    inside = [serve(lb, b"in", one) for one in ("10.0.0.1:80", "127.0.0.1:80", "10.1.0.1:80")]
    response = call(lb, "http://bad.example.com/")
    assert response.status == (403 if addresses else 502)
    assert "10.0.0.1" not in response.text
    assert [one.accepted for one in inside] == [0, 0, 0]


def test_failures_are_readable(make: Make) -> None:
    lb = make()
    response = call(lb)  # nothing listens
    assert response.status == 502
    assert response.header("Access-Control-Allow-Origin") == APP
    assert words(response) == "the target gave no valid response"
    serve(lb).hang()
    response = call(lb, within=40.0)
    assert (response.status, words(response)) == (504, "the target did not answer in time")


def test_large_responses_are_refused(make: Make) -> None:
    lb = make(f"origins = {APP}\nmax_response = 10")
    serve(lb, lambda request: Answer(200, b"x" * int(request.target.rpartition("=")[2])))
    assert call(lb, "http://api.example.com/?n=10").status == 200
    assert call(lb, "http://api.example.com/?n=11").status == 502


def test_head(make: Make) -> None:
    lb = make()
    serve(lb, b"12345")
    response = call(lb, method="HEAD")
    assert (response.status, response.body, response.header("Content-Length")) == (200, b"", "5")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("", "everybody could use this proxy"),
        (f"open = yes\norigins = {APP}", "remove origins"),
        ("origins = app.example.com", "no origin"),
        ("open = yes\nbackend = a\n[backend a]\nservers = a 10.0.0.1:80", "no routes"),
        ("open = yes\nreq_headers = a b:", "not the name of a header"),
        ("open = yes\nguard_ports = 0", "not a port"),
        ("open = yes\ntarget_ca = /nonexistent/ca.pem", "No such file"),
        ("open = yes\nredirects = pass\nforms = path", "add query to forms"),
        ("open = yes\ncache_by_key = yes", "cache_by_key needs cache and keys"),
        (f"origins = {APP}\ncredentials = yes", "credentials = yes needs keys"),
    ],
)
def test_mistakes(make: Make, keys: str, words: str) -> None:
    with pytest.raises(ConfigErrors, match=words):
        make(keys)


def test_keys_of_other_modes(make: Make) -> None:
    text = (
        "[frontend a]\nlisten = tcp:80\nbackend = b\nopen = yes\n"
        "[backend b]\nservers = a 1.1.1.1:80"
    )
    with pytest.raises(ConfigErrors, match="open is for mode = corsproxy"):
        LB.from_config(text)


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


def test_a_reload_keeps_and_changes(make: Make) -> None:
    lb = make()
    serve(lb)
    old = lb.service.generation.frontends["cors"]
    assert lb.service.reload(TEXT.format(keys=f"origins = {APP}")).ok
    assert lb.service.generation.frontends["cors"] is old
    assert lb.service.reload(TEXT.format(keys="origins = https://new.example")).ok
    assert call(lb).status == 403
    assert call(lb, origin="https://new.example").status == 200


def test_explain(make: Make) -> None:
    found = explain_http(parse_config(TEXT.format(keys="open = yes")), "GET", "http://p:8090/", [])
    assert found.action == "fetches the URL that the call names (mode = corsproxy)"
    assert found.error == ""


def test_a_limit_applies(make: Make) -> None:
    lb = make(f"origins = {APP}\nlimits = few\n[limit few]\nrate = 2/1h\nkey = {{client_ip}}")
    serve(lb)
    assert [call(lb).status for _ in range(3)] == [200, 200, 429]


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


def test_connect_is_refused_even_where_it_is_forwarded(make: Make) -> None:
    lb = make("open = yes\nconnect = forward\ntrace = yes")
    target = serve(lb)
    client = lb.connect("cors")
    client.send(b"CONNECT xapi.example.com:80 HTTP/1.1\r\nHost: api.example.com:80\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 405 ")
    assert call(lb, method="TRACE").status == 405
    assert target.accepted == 0


def test_a_key_that_is_not_latin(make: Make) -> None:
    lb = make()
    serve(lb)
    assert call(lb, more="&key=%E2%82%AC", headers={"Referer": "https://p.example/"}).status == 200


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


def test_via_none(make: Make) -> None:
    lb = make("open = yes\nvia = none")
    target = serve(lb)
    assert call(lb, headers={"Via": "1.1 other"}).status == 200
    assert target.requests[0].header("Via") == ""


def test_without_keys_their_header_is_the_targets(make: Make) -> None:
    lb = make()
    target = serve(lb)
    assert call(lb, headers={"X-Api-Key": "theirs"}).status == 200
    assert target.requests[0].header("X-Api-Key") == "theirs"


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
