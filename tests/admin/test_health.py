"""``/healthz``, ``/readyz`` and ``/metrics`` for callers without a token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config

from .kit import TEXT, AdminClient, admin

READ = "r" * 20


@contextmanager
def guarded(tmp_path: Path, *lines: str) -> Iterator[AdminClient]:
    """An API for callers with a token, with more ``lines`` in ``[lbproxy]``."""
    path = tmp_path / "tokens"
    path.write_text(f"read grafana {READ}\n")
    path.chmod(0o600)
    more = "\n".join(("", f"admin_tokens = {path}", *lines))
    with admin(TEXT.replace(":interface=127.0.0.1", more)) as client:
        yield client


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token(tmp_path: Path, path: str) -> None:
    with guarded(tmp_path) as client:
        answer = client.ask("GET", path, host="lb.example:8404")
        assert (answer.status, answer.data) == (200, {"status": "ok"})
        assert client.ask("HEAD", path).status == 200
        assert client.ask("GET", path, Authorization="Bearer unknown").status == 200
        assert client.ask("POST", path).status == 401
        assert client.ask("GET", "/metrics").status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_closed_by_none(tmp_path: Path, path: str) -> None:
    with guarded(tmp_path, "admin_public = none") as client:
        assert client.ask("GET", path).status == 401
        assert client.ask("GET", path, Authorization=f"Bearer {READ}").status == 200


def test_metrics_are_public_if_configured(tmp_path: Path) -> None:
    with guarded(tmp_path, "admin_public = metrics") as client:
        text = client.ask("GET", "/metrics", host="lb.example").response.text
        assert "lbproxy_build_info" in text
        assert client.ask("GET", "/healthz").status == 401
        assert client.ask("GET", "state").status == 401


def test_a_reload_changes_what_is_public(tmp_path: Path) -> None:
    with guarded(tmp_path, "admin_public = health metrics") as client:
        assert client.ask("GET", "/metrics").status == 200
        text = TEXT.replace(":interface=127.0.0.1", f"\nadmin_tokens = {tmp_path / 'tokens'}")
        assert client.lb.service.reload(text).ok
        assert client.ask("GET", "/metrics").status == 401
        assert client.ask("GET", "/healthz").status == 200


def test_ready_fails_while_lbproxy_stops(tmp_path: Path) -> None:
    with guarded(tmp_path) as client:
        slow = client.lb.connect("127.0.0.1:8080")
        slow.send(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        client.lb.service.stopService()
        answer = client.ask("GET", "/readyz")
        assert (answer.status, answer.message) == (503, "lbproxy is stopping")
        assert client.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ("admin = tcp:8404:interface=127.0.0.1\nadmin_public = health none", "'none'"),
        ("admin = tcp:8404:interface=127.0.0.1\nadmin_public = metric", "did you mean 'metrics'"),
        ("admin_public = metrics", "has no effect without 'admin'"),
        ("admin = tcp:8404 role=read", "any of them could read everything"),
        ("admin = tcp:8404", "any of them could change everything"),
    ],
)
def test_mistakes(lines: str, wrong: str) -> None:
    site = (
        "[frontend web]\nlisten = tcp:80\nbackend = app\n[backend app]\nservers = a 10.0.0.1:80\n"
    )
    with pytest.raises(ConfigErrors, match=wrong):
        parse_config(f"[lbproxy]\n{lines}\n{site}")
