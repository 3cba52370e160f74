"""The last refusals over the API and by the command."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from lbproxy.cli import main
from lbproxy.cli.remote import Remote

from .kit import admin

TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

[frontend web]
listen = tcp:8080
deny = 198.51.100.0/24
trusted_proxies = 203.0.113.9
access_log = web.log json
routes =
    path /a -> app

[backend app]
servers = a 10.0.0.1:8000
"""


def test_a_refusal_is_found_by_its_id_and_by_the_client() -> None:
    with admin(TEXT) as client:
        denied = client.lb.get(
            "http://h:8080/a?secret=1", headers={"X-Forwarded-For": "198.51.100.7"}
        )
        client.lb.get("http://h:8080/a")
        client.lb.get("http://h:8080/nowhere")
        identity = denied.header("X-Request-Id")
        assert identity.encode() in denied.body
        one = client.get(f"refusals/{identity}")
        assert (one["status"], one["close"], one["client_ip"]) == (403, "denied", "198.51.100.7")
        assert (one["path"], one["detail"]) == ("/a", "198.51.100.7 is not allowed")
        assert identity in client.lb.log_lines()[0]
        items = client.get("refusals")["items"]
        assert [item["close"] for item in items] == ["no_route", "denied"]
        assert len(client.get("refusals?client=198.51.100.7")["items"]) == 1
        assert client.ask("GET", "/api/v1/refusals/unknown").status == 404


def test_a_reload_keeps_them() -> None:
    with admin(TEXT) as client:
        client.lb.get("http://h:8080/nowhere")
        assert client.lb.service.reload(TEXT.replace("path /a", "path /b")).ok
        client.lb.get("http://h:8080/a")
        assert len(client.get("refusals")["items"]) == 2


ONE = {
    "at": 0.0,
    "request_id": "abc",
    "frontend": "web",
    "route": "default -> app",
    "backend": "app",
    "client_ip": "192.0.2.1",
    "method": "GET",
    "host": "h",
    "path": "/\x1b",
    "status": 403,
    "close": "blocked",
    "detail": "waf main: score 5",
    "seconds": 0.25,
}


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def get(self: Remote, path: str, **query: Any) -> Any:
        asked.append(path)
        return ONE

    def every(self: Remote, path: str, most: int = 0, **query: Any) -> Any:
        asked.append((path, query))
        return [] if query["client"] == "192.0.2.9" else [ONE, ONE]

    monkeypatch.setattr(Remote, "get", get)
    monkeypatch.setattr(Remote, "all", every)
    run = CliRunner().invoke
    found = run(main, ["why", "abc", "--admin", "http://127.0.0.1:1"])
    assert (found.exit_code, asked) == (0, ["refusals/abc"])
    assert "abc: 403 blocked" in found.output
    assert "reason    waf main: score 5" in found.output
    assert "\x1b" not in found.output
    found = run(main, ["why", "192.0.2.1", "--admin", "http://127.0.0.1:1"])
    assert found.output.count("abc: 403") == 2
    assert run(main, ["why", "192.0.2.9", "--admin", "http://127.0.0.1:1"]).exit_code != 0
