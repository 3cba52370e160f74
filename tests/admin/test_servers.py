"""What operators do to servers, and what they see of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lbproxy.cli.show import weight_of

from .kit import TEXT, AdminClient, admin


@pytest.fixture
def client() -> Iterator[AdminClient]:
    with admin() as made:
        yield made


APP = "backends/app/servers"


def test_weight_and_maxconn(client: AdminClient) -> None:
    shown = client.ask("PATCH", f"{APP}/a", {"weight": 7, "maxconn": 9}).data
    assert (shown["weight"], shown["maxconn"]) == (7, 9)
    server = client.lb.server("app", "a")
    assert (server.weight, server.maxconn) == (7, 9)


def test_drain_maint_ready(client: AdminClient) -> None:
    for word in ("drain", "maint"):
        assert client.ask("PATCH", f"{APP}/a", {"admin": word}).data["state"] == word
        assert {client.lb.get("http://x/", frontend="web").server for _ in range(6)} == {"b"}
    assert client.ask("PATCH", f"{APP}/a", {"admin": "ready"}).data["state"] == "up"
    assert client.ask("PATCH", f"{APP}/a", {"admin": "down"}).status == 400


def test_add_and_remove(client: AdminClient) -> None:
    client.lb.origin("c", "10.0.0.3:8000")
    added = client.ask("POST", APP, {"server": "c 10.0.0.3:8000 weight=2"})
    assert (added.status, added.data["weight"], added.data["state"]) == (200, 2, "up")
    assert {client.lb.get("http://x/", frontend="web").server for _ in range(12)} == {"a", "b", "c"}
    assert client.ask("POST", APP, {"server": "c 10.0.0.4:8000"}).status == 409
    wrong = client.ask("POST", APP, {"server": "d 10.0.0.3:99999 wieght=2"})
    assert wrong.status == 400
    assert "did you mean 'weight'?" in wrong.message
    assert "<server>" not in wrong.message
    assert client.ask("POST", "backends/nope/servers", {"server": "c 10.0.0.3:80"}).status == 404
    gone = client.ask("DELETE", f"{APP}/c")
    assert gone.data == {"removed": "app/c", "sessions": 0}
    assert client.ask("GET", f"{APP}/c").status == 404


def test_adding_a_server_does_not_show_which_files_exist(
    client: AdminClient, tmp_path: Path
) -> None:
    there, secret = tmp_path / "there", tmp_path / "secret"
    there.write_text("no certificate")
    secret.mkdir()
    answers = {
        client.ask("POST", APP, {"server": f"c 10.0.0.3:8000 tls ca={path}"}).message
        for path in (there, secret, tmp_path / "missing", "/etc/passwd", "/etc/shadow")
    }
    assert len(answers) == 1
    assert str(tmp_path) not in answers.pop()
    wrong = client.ask("POST", APP, {"server": f"c 10.0.0.3:8000 tls ca={there} wieght=2"})
    assert "did you mean 'weight'?" in wrong.message


def test_the_last_server_stays(client: AdminClient) -> None:
    answer = client.ask("DELETE", "backends/static/servers/s1")
    assert answer.status == 409
    assert "maint" in answer.message


def test_kill_and_sessions(client: AdminClient) -> None:
    client.lb.tcp_origin("db1", "10.0.2.1:5432", lambda data: data)
    sessions = []
    for n in range(1, 4):
        sessions.append(client.lb.connect("db", client=f"203.0.113.{n}"))
        sessions[-1].send(b"hello")
        client.lb.advance(1)
    shown = client.get("sessions")
    assert not shown["more"]
    assert [one["client_ip"] for one in shown["items"]] == [f"203.0.113.{n}" for n in range(1, 4)]
    assert shown["items"][0]["bytes_in"] == 5
    assert len(client.get("sessions?limit=2")["items"]) == 2
    assert client.get("sessions?limit=2")["more"]
    assert len(client.get("sessions?client=203.0.113.2")["items"]) == 1
    assert client.get("sessions?frontend=web")["items"] == []
    assert len(client.get("sessions?backend=pg&server=db1")["items"]) == 3
    assert client.ask("GET", "sessions?server=db1").status == 400
    assert client.ask("GET", "sessions?backend=pgg").status == 404
    second = shown["items"][1]["id"]
    assert client.ask("DELETE", f"sessions/{second}").data == {"killed": 1}
    client.lb.advance(1)
    assert [session.finished for session in sessions] == [False, True, False]
    assert client.ask("DELETE", f"sessions/{second}").status == 404
    assert client.ask("POST", "backends/pg/servers/db1/kill").data == {"killed": 2}
    client.lb.advance(1)
    assert client.get("sessions")["items"] == []


def test_waiting_for_a_drain(client: AdminClient) -> None:
    client.lb.tcp_origin("db1", "10.0.2.1:5432", lambda data: data)
    session = client.lb.connect("db")
    session.send(b"hello")
    path = "backends/pg/servers/db1"
    client.ask("PATCH", path, {"admin": "drain"})
    assert client.get(f"{path}/drain")["sessions"] == 1
    raw = client.lb.connect(client.target)
    raw.send(
        f"POST /api/v1/{path}/drain/wait HTTP/1.1\r\nHost: localhost\r\n"
        "X-Requested-With: x\r\nContent-Length: 0\r\n\r\n".encode()
    )
    client.lb.advance(5)
    assert raw.take() == b""
    session.close()
    client.lb.advance(1)
    assert b'"done":true' in raw.take()


def test_pages_of_many_servers() -> None:
    lines = "\n".join(f"    n{n} 10.1.{n // 250}.{n % 250 + 1}:80" for n in range(3000))
    text = TEXT.replace("servers = s1 10.0.1.1:8000", f"servers =\n{lines}")
    with admin(text) as client:
        page = client.get("servers?backend=static&limit=1000")
        assert (len(page["items"]), page["total"], page["next"]) == (1000, 3000, 1000)
        last = client.get("servers?backend=static&limit=1000&offset=2000")
        assert (len(last["items"]), last["next"], last["items"][-1]["name"]) == (
            1000,
            None,
            "n2999",
        )
        assert client.get("servers?offset=1000000")["items"] == []
        client.ask("PATCH", "backends/static/servers/n77", {"admin": "maint"})
        assert [one["name"] for one in client.get("servers?state=maint")["items"]] == ["n77"]
        state = client.get("state")
        assert set(state["servers"]) == {"app/a", "app/b", "pg/db1"}, "a large backend is paged"
        assert state["backends"]["static"]["servers"] == 3000


def test_usable_counts_backups_and_weights() -> None:
    text = TEXT.replace(
        "    b 10.0.0.2:8000\n", "    b 10.0.0.2:8000\n    c 10.0.0.3:8000 backup\n"
    )
    with admin(text) as client:

        def usable() -> tuple[int, int]:
            shown = client.get("backends/app")
            return shown["usable"], shown["servers"]

        assert usable() == (3, 3)
        client.ask("PATCH", f"{APP}/a", {"weight": 0})
        assert usable() == (2, 3)
        client.ask("PATCH", f"{APP}/b", {"admin": "drain"})
        assert usable() == (1, 3)


def test_what_an_agent_wants_shows() -> None:
    with admin() as client:
        backend, server = client.lb.backend("app"), client.lb.server("app", "a")
        assert client.get(f"{APP}/a")["share"] == 1
        backend.group.set_agent_share(server, 0.75)
        shown = client.get(f"{APP}/a")
        assert (shown["weight"], shown["share"]) == (3, 0.75)
        assert weight_of(shown) == "3 (75%)"
        assert weight_of(client.get(f"{APP}/b")) == "1"
