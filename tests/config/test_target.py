"""The target of a server: a socket, or what a scheme of the table makes."""

from __future__ import annotations

import pytest

from lbproxy.config.addresses import TARGETS
from lbproxy.config.diff import server_moves
from lbproxy.config.dump import as_json, dump
from lbproxy.config.model import Address, ServerSpec, Target

from .fakes import MINIMAL, build, mistakes


def test_a_socket() -> None:
    text = MINIMAL.replace("servers = a", "servers =\n    b unix:run/b\n    a")
    b, a = build(text).backends[0].servers
    assert a.target == Target(Address("tcp", "10.0.0.1", 80)) and str(a.target) == "10.0.0.1:80"
    assert b.target.sockets == (Address("unix", path="/etc/lb/run/b"),)
    assert ServerSpec("a", Address("tcp", "10.0.0.1", 80)) == a


def test_an_application_is_shown_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "wsgi", lambda text, base_dir: Target(None, "wsgi", text))
    config = build(MINIMAL.replace("10.0.0.1:80", "wsgi:shop:app backup"))
    (server,) = config.backends[0].servers
    assert (str(server.target), server.target.sockets) == ("wsgi:shop:app", ())
    assert build(dump(config)) == config
    shown = as_json(config)["backends"]["app"]["servers"][0]
    assert shown["address"] == "wsgi:shop:app" and "target" not in shown


def test_another_target_is_another_server() -> None:
    one, two = Target(None, "wsgi", "a:x"), Target(None, "wsgi", "a:y")
    moves = server_moves([ServerSpec("a", one)], [ServerSpec("a", two)])
    assert (moves.removed, moves.added) == (("a",), ("a",))


def test_a_missing_one() -> None:
    (error,) = mistakes(MINIMAL.replace("a 10.0.0.1:80", "a"))
    assert error.message == "address is missing: address of the server, such as 10.0.0.1:80"
