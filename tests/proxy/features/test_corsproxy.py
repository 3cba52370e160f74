"""``mode = corsproxy`` in memory: calls, policies, pages and refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("ada_url")

from lbproxy.config.errors import ConfigErrors
from lbproxy.decide.explain import explain_http
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from lbproxy.testing.origin import Answer
from tests.support.opencors import APP, TEXT, Make, call, serve, started, words


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a CORS proxy with more keys; api.example.com is 10.1.0.1."""
    yield from started()


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
        ("origins = app.example.com", "not an origin"),
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
    config = parse_config(TEXT.format(keys="open = yes"))
    found = explain_http(config, "GET", "http://p:8090/?url=http://api.example.com/", [])
    assert found.action == "fetches the URL that the call names (mode = corsproxy)"
    assert found.error == ""
    assert explain_http(config, "GET", "http://p:8090/", []).action == "answered by lbproxy itself"


def test_a_limit_applies(make: Make) -> None:
    lb = make(f"origins = {APP}\nlimits = few\n[limit few]\nrate = 2/1h\nkey = {{client_ip}}")
    serve(lb)
    assert [call(lb).status for _ in range(3)] == [200, 200, 429]


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
