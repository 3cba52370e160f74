"""Sticky tables and mirrors over the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lbproxy.testing.origin import Answer

from .kit import AdminClient, admin

TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

[frontend web]
listen = tcp:8080
routes =
    path /cookie -> cookies
    path /plain  -> plain
backend = app

[backend app]
sticky = header X-User
mirror = next compare=status,body
servers =
    a 10.0.0.1:8000
    b 10.0.0.2:8000

[backend cookies]
sticky = cookie LB
servers = a 10.0.0.1:8000

[backend plain]
servers = a 10.0.0.1:8000

[backend next]
servers = n 10.0.0.3:8000
"""


@pytest.fixture
def client() -> Iterator[AdminClient]:
    with admin(TEXT) as made:
        made.lb.origin("n", "10.0.0.3:8000", lambda request: Answer(500, b"oh"))
        yield made


def visit(client: AdminClient, user: str, path: str = "/x?token=s3cret") -> None:
    assert client.lb.get(f"http://h:8080{path}", headers={"X-User": user}).status == 200
    client.lb.advance(1)


def test_a_table_is_listed(client: AdminClient) -> None:
    for user in ("ann", "bob", "eve", "ann"):
        visit(client, user)
    found = client.get("backends/app/sticky")
    assert (found["kind"], found["kept"], found["moved"]) == ("header", 1, 0)
    assert (found["table"]["entries"], found["table"]["created"]) == (3, 3)
    assert len({one["key"] for one in found["items"]}) == 3
    assert not any("ann" in one["key"] for one in found["items"])
    assert {one["server"] for one in found["items"]} == {"a", "b"}
    assert found["items"][0]["expires_s"] == 1799
    assert found["more"] is False
    part = client.get("backends/app/sticky?limit=2")
    assert (part["items"], part["more"]) == (found["items"][:2], True)
    assert client.get("state")["sticky"]["app"]["entries"] == 3


def test_it_is_forgotten(client: AdminClient) -> None:
    for user in ("ann", "bob", "eve"):
        visit(client, user)
    of_a = sum(one["server"] == "a" for one in client.get("backends/app/sticky")["items"])
    assert client.ask("DELETE", "backends/app/sticky?server=zz").status == 404
    assert client.ask("DELETE", "backends/app/sticky?server=a").data == {"forgotten": of_a}
    left = client.get("backends/app/sticky")["items"]
    assert [one["server"] for one in left] == ["b"] * (3 - of_a)
    assert client.ask("DELETE", "backends/app/sticky").data == {"forgotten": 3 - of_a}
    assert client.get("backends/app/sticky")["items"] == []


def test_where_the_client_carries_it(client: AdminClient) -> None:
    visit(client, "ann", "/cookie")
    found = client.get("backends/cookies/sticky")
    assert (found["table"], found["items"], found["more"]) == (None, [], False)
    assert found["cookies"] == 1
    answer = client.ask("DELETE", "backends/cookies/sticky")
    assert (answer.status, "has no table" in answer.message) == (409, True)


@pytest.mark.parametrize("what", ["sticky", "mirror"])
def test_where_there_is_none(client: AdminClient, what: str) -> None:
    answer = client.ask("GET", f"backends/plain/{what}")
    assert (answer.status, f"no {what}" in answer.message) == (409, True)
    assert client.ask("GET", f"backends/nope/{what}").status == 404


def test_differences_of_a_mirror(client: AdminClient) -> None:
    visit(client, "ann", "/one?token=s3cret")
    visit(client, "ann", "/two")
    found = client.get("backends/app/mirror")
    assert (found["backend"], found["copied"], found["different"]) == ("next", 2, 2)
    assert [one["path"] for one in found["differences"]] == ["/two", "/one"]
    newest = found["differences"][0]
    assert (newest["method"], newest["copy_server"], newest["age_s"]) == ("GET", "n", 1)
    assert newest["server"] in ("a", "b")
    assert newest["what"][0] == "status 200/500"
    assert len(client.get("backends/app/mirror?limit=1")["differences"]) == 1
    assert client.get("state")["mirrors"]["app"]["different"] == 2
