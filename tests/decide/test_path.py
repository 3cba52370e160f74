"""One path for explain and replay: what each says of the same request."""

from __future__ import annotations

import pytest

from lbproxy.decide.decider import Decider
from lbproxy.decide.explain import explain_http
from lbproxy.decide.logline import LoggedRequest
from lbproxy.registry import parse_config

TEXT = """
[frontend web]
listen = tcp:80
deny = 192.0.2.66
routes =
    path /old/* -> redirect 301 https://example.com/new
    path /api/* -> api
[backend api]
balance = hash uri
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
"""
CASES = [
    ("GET", "/api/x", "192.0.2.1"),
    ("GET", "/old/y", "192.0.2.1"),
    ("GET", "/elsewhere", "192.0.2.1"),
    ("GET", "/api/x", "192.0.2.66"),
    ("CONNECT", "/api/x", "192.0.2.1"),
]


@pytest.mark.parametrize(("method", "path", "ip"), CASES)
def test_explain_and_replay_agree(method: str, path: str, ip: str) -> None:
    config = parse_config(TEXT)
    told = explain_http(config, method, f"http://h{path}", [], ip)
    target = "h:443" if method == "CONNECT" else path
    request = LoggedRequest(
        port=80, method=method, host="h", target=target, peer_ip=ip, client_ip=ip
    )
    decided = Decider(config).decide(request)
    assert decided.backend == told.backend
    assert decided.server == told.pick
    assert bool(decided.answer) == bool(told.error or told.action)
    if told.error.startswith(("4", "5")):
        assert decided.answer == told.error.replace(": ", " ")


def test_a_refused_client_meets_no_route() -> None:
    told = explain_http(parse_config(TEXT), "GET", "http://h/api/x", [], "192.0.2.66")
    assert told.error.startswith("denied") and told.routes == []


FOUND = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
balance = hash uri
servers = app-{01..03} dns:app.internal:8000 weight=2
"""


def test_servers_from_dns_are_candidates() -> None:
    config = parse_config(FOUND)
    told = explain_http(config, "GET", "http://h/x", [])
    assert [(one.server, one.address) for one in told.candidates] == [
        (f"app-0{number}", "app.internal:8000") for number in (1, 2, 3)
    ]
    request = LoggedRequest(
        port=80, method="GET", host="h", target="/x", peer_ip="10.1.1.1", client_ip="10.1.1.1"
    )
    decision = Decider(config).decide(request)
    assert decision.server == told.pick != ""
    assert "app-{01..03} dns:app.internal:8000 weight=2" in decision.servers


def test_a_secret_in_a_redirect_is_not_shown() -> None:
    text = "[frontend web]\nlisten = tcp:80\nroutes = default -> redirect 302 {}\n"
    config = parse_config(text.format("https://u:p4ssW0rd@h.example/?token=qqq"))
    told = explain_http(config, "GET", "http://h/x", [])
    request = LoggedRequest(
        port=80, method="GET", host="h", target="/x", peer_ip="10.1.1.1", client_ip="10.1.1.1"
    )
    shown = told.as_text() + told.as_json() + repr(Decider(config).decide(request))
    assert "h.example" in shown and "p4ssW0rd" not in shown and "qqq" not in shown


def test_a_host_in_unicode_is_that_of_browsers() -> None:
    text = TEXT.replace("path /old/*", "host straße.example").replace("path /api/*", "host ä.b")
    config = parse_config(text)
    assert explain_http(config, "GET", "http://Straße.example:80/", []).action
    assert explain_http(config, "GET", "http://ä.b/", []).backend == "api"
    with pytest.raises(ValueError, match="has no IDNA form"):
        explain_http(config, "GET", "http://☃.net/", [])
