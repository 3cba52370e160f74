"""Events about changes name the server, the change and who made it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lbproxy.admin.request import AdminRequest

from .kit import TEXT, AdminClient, admin

A = "backends/app/servers/a"


@pytest.fixture
def client() -> Iterator[AdminClient]:
    """On loopback, without tokens."""
    with admin(TEXT.replace("rebalance = tcp\n", "rebalance = tcp\nsticky = source\n")) as client:
        yield client


def changes(client: AdminClient) -> list[str]:
    """Texts of the events about changes."""
    return [one["text"] for one in client.get("events")["items"] if one["kind"] == "changed"]


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("PATCH", A, {"weight": 5}, "app/a weight 3 -> 5"),
        ("PATCH", A, {"admin": "drain"}, "app/a ready -> drain"),
        (
            "PATCH",
            A,
            {"weight": 0, "maxconn": 7},
            "app/a weight 3 -> 0; app/a maxconn 0 -> 7",
        ),
        (
            "POST",
            "backends/app/servers",
            {"server": "c 10.0.0.3:8000 weight=2"},
            "app/c added (10.0.0.3:8000)",
        ),
        ("DELETE", A, None, "app/a removed with 0 sessions left"),
        ("POST", f"{A}/kill", None, "app/a 0 sessions ended"),
        ("POST", "backends/app/rebalance", None, "app rebalance: 0 sessions"),
        ("DELETE", "backends/app/sticky?server=a", None, "app sticky server=a: 0 forgotten"),
    ],
)
def test_the_text_names_the_change(
    client: AdminClient, method: str, path: str, body: Any, text: str
) -> None:
    assert client.ask(method, path, body).status == 200
    assert changes(client) == [f"{text}, by local"]


def test_undoing_names_each_change(client: AdminClient) -> None:
    client.ask("PATCH", A, {"weight": 5, "admin": "maint"})
    client.ask("DELETE", "drift?backend=app")
    assert changes(client)[-1] == (
        "app/a weight 3 -> 5 undone; app/a ready -> maint undone, by local"
    )


def test_undoing_names_that_do_not_exist(client: AdminClient) -> None:
    """They are an error, not nothing to undo."""
    answer = client.ask("DELETE", "drift?backend=app&server=zz")
    assert answer.status == 404 and "no server 'zz' in backend 'app'" in answer.message
    answer = client.ask("DELETE", "drift?backend=apq")
    assert answer.status == 404 and "did you mean 'app'" in answer.message


def test_a_request_that_changes_nothing_is_no_event(client: AdminClient) -> None:
    client.ask("PATCH", A, {"weight": 3})
    client.ask("PATCH", A, {"weight": -3})
    client.ask("DELETE", "drift")
    client.ask("POST", "reload?dry_run=true")
    assert changes(client) == []


def test_a_long_list_is_cut(client: AdminClient) -> None:
    for n in range(12):
        client.lb.service.add_server("app", f"n{n} 10.0.1.{n}:80")
    client.ask("DELETE", "drift")
    assert changes(client)[-1].endswith("undone and 2 more, by local")


def test_a_caller_on_a_unix_socket_is_a_user(tmp_path: Path) -> None:
    text = TEXT.replace("admin = tcp:8404:interface=127.0.0.1", f"admin = unix:{tmp_path}/sock")
    with admin(text) as client:
        door = client.lb.service.admin.doors[0]
        assert door.who("", None, 1234).name == "uid 1234"
        assert door.who("", None).name == "socket"


def test_the_user_at_the_other_end_of_a_unix_socket() -> None:
    ours, theirs = socket.socketpair()
    request = AdminRequest.__new__(AdminRequest)
    request.channel = SimpleNamespace(transport=SimpleNamespace(socket=ours))
    assert request._uid() == os.getuid()
    request.channel.transport.socket = socket.socket()
    assert request._uid() is None
    for one in (ours, theirs, request.channel.transport.socket):
        one.close()
