"""Firewalls over the API: counts by class, metrics and state."""

from __future__ import annotations

import pytest

pytest.importorskip("re2")

from .kit import admin

TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

[waf main]

[frontend web]
listen = tcp:8080
waf = main
routes = path /a -> app
backend = app

[backend app]
servers = a 10.0.0.1:8000
"""


def test_numbers_of_all_routes_are_summed() -> None:
    with admin(TEXT) as client:
        for path in ("a", "b", "a?q=%3Cscript%3E", "b?q=%27%20or%201%3D1--"):
            client.lb.get(f"http://h:8080/{path}")
        (found,) = client.get("firewalls")["items"]
        assert (found["name"], found["mode"]) == ("main", "block")
        assert (found["requests"], found["blocked"], found["xss"]) == (4, 2, 1)
        assert found["sqli"] >= 1
        assert client.get("state")["firewalls"]["main"]["blocked"] == 2
        routes = {one["route"]: one["waf"] for one in client.get("routes")["items"]}
        assert {one["blocked"] for one in routes.values()} == {1}
        text = client.ask("GET", "/metrics").response.text
        assert 'lbproxy_waf_blocked_total{waf="main"} 2' in text
        assert 'lbproxy_waf_matches_total{waf="main",class="xss"} 1' in text


def test_nothing_is_shown_without_a_firewall() -> None:
    with admin(TEXT.replace("waf = main\n", "")) as client:
        assert client.get("firewalls")["items"] == []
        assert "lbproxy_waf" not in client.ask("GET", "/metrics").response.text
