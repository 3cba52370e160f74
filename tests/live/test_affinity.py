"""``lbproxy sticky`` and ``lbproxy mirror``, with one process and with workers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from lbproxy.cli import main
from tests.live.clients import ThreadServer, heads
from tests.support.ports import free_ports
from tests.support.process import until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-workers")]

USERS = [f"user-{number}" for number in range(24)]

TEXT = """
[frontend web]
listen = tcp:{web}:interface=127.0.0.1
backend = app
[backend app]
balance = roundrobin
sticky = header X-User expire=10m
mirror = next compare=status,body
servers =
    a {a}
    b {b}
[backend next]
servers = n {n}
"""


@pytest.fixture
def transport() -> str:
    """Which one moves the bytes makes no difference here."""
    return "epoll"


def saying(word: bytes, status: bytes = b"200 OK") -> str:
    """Address of an HTTP server that answers ``word``."""

    def serve(sock: Any) -> None:
        for _ in heads(sock):
            sock.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(word), word))

    return str(ThreadServer(serve).address)


class Scene:
    """lbproxy with ``workers``; and its commands."""

    def __init__(self, balancer: Callable[..., Any], workers: int) -> None:
        self.web, self.admin = free_ports(2)
        text = TEXT.format(web=self.web, a=saying(b"a"), b=saying(b"b"), n=saying(b"oh", b"500 Oh"))
        self.workers = workers
        settings = f"workers = {workers}\nadmin = tcp:{self.admin}:interface=127.0.0.1"
        self.lb = balancer(text, settings=settings)
        if workers > 1:
            self.lb.wait_output(" serves (pid", workers, timeout=60)

    def run(self, *words: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, [*words, "--admin", f"127.0.0.1:{self.admin}"])
        assert result.exit_code == status, result.output
        return result.output

    def ask(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def visit(self, user: str) -> str:
        """The server that ``user`` comes to on a new connection."""
        client = http.client.HTTPConnection("127.0.0.1", self.web, timeout=60)
        client.request("GET", f"/{user}?token=s3cret", headers={"X-User": user})
        word = client.getresponse().read().decode()
        client.close()
        return word

    def known(self) -> int:
        return int(self.ask("sticky", "app")["table"]["entries"])


@pytest.fixture(params=[1, 2])
def scene(request: Any, balancer: Callable[..., Any]) -> Scene:
    return Scene(balancer, request.param)


def test_tables_are_shown_and_forgotten(scene: Scene) -> None:
    where = {user: scene.visit(user) for user in USERS}
    assert set(where.values()) == {"a", "b"}
    assert until(lambda: scene.known() == len(USERS))
    shown = scene.run("sticky", "app", "--limit", "20")
    first, *rest = shown.splitlines()
    assert first == "app: header, 24 of at most 100000 clients known; 0 kept, 0 moved, 0 lent"
    assert rest[1].split() == ["CLIENT", "SERVER", "LEFT"]
    newest = rest[2].split()
    assert len(newest[0]) == 32
    if scene.workers == 1:
        assert newest[1] == where[USERS[-1]]
    assert (len(rest), rest[-1]) == (23, "and more; the limit is 20")
    assert not any(user in shown for user in USERS), "a header may be a secret"
    of_a = sum(word == "a" for word in where.values())
    assert scene.run("sticky", "app/a", "--forget") == f"app/a: {of_a} clients forgotten\n"
    assert until(lambda: scene.known() == len(USERS) - of_a), "by every worker"
    assert scene.ask("sticky", "app", "--forget") == {"forgotten": len(USERS) - of_a}
    assert until(lambda: scene.known() == 0)
    assert "no server of app 'zz'" in scene.run("sticky", "app/zz", "--forget", status=1)
    assert "'app/' is neither BACKEND nor BACKEND/SERVER" in scene.run(
        "sticky", "app/", "--forget", status=2
    )
    assert scene.known() == 0
    assert "has no sticky" in scene.run("sticky", "next", status=1)
    assert "add --forget" in scene.run("sticky", "app/a", status=2)


def test_differences_are_shown(scene: Scene) -> None:
    where = {user: scene.visit(user) for user in USERS}
    assert until(lambda: len(scene.ask("mirror", "app")["differences"]) == len(USERS))
    found = scene.ask("mirror", "app")
    assert (found["backend"], found["copied"], found["different"]) == ("next", 24, 24)
    ages = [one["age_s"] for one in found["differences"]]
    assert ages == sorted(ages), "the newest first"
    assert {one["path"][1:]: one["server"] for one in found["differences"]} == where
    assert "s3cret" not in json.dumps(found)
    first, _, titles, *rows = scene.run("mirror", "app").splitlines()
    assert first == (
        "app -> next: 24 copied, 0 failed, 0 same, 24 different; "
        "not copied: 0 too many at once, 0 too large"
    )
    assert titles.split() == ["AGO", "METHOD", "PATH", "SERVER", "COPY", "WHAT"]
    assert len(rows) == 24
    assert all(row.endswith("n     status 200/500, body 1/2 bytes") for row in rows), rows
    assert "has no mirror" in scene.run("mirror", "next", status=1)
