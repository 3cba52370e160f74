"""The access log as it grows: for whom, how much, and nothing when nobody looks."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from lbproxy.observe.follow import RATE, ViewerLine

from ..support.mmdb import write_mmdb
from .kit import TEXT, AdminClient, admin


def follow(client: AdminClient, query: str = "") -> Any:
    raw = client.lb.connect(client.target)
    raw.send(f"GET /api/v1/logs/stream{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert b"text/event-stream" in raw.take()
    return raw


def told(raw: Any, kind: str = "record") -> list[Any]:
    lines = raw.take().decode().splitlines()
    return [json.loads(b[6:]) for a, b in pairwise(lines) if a == f"event: {kind}"]


def test_a_master_of_workers_has_theirs() -> None:
    with admin() as client:
        every, errors = follow(client), follow(client, "?errors=true")
        for follower in client.lb.service.frontend("web").followers:
            follower(ViewerLine('{"status":200}', True))
            follower(ViewerLine('{"status":502}', False))
            follower(ViewerLine("", False, 7))
        client.lb.advance(1.1)
        data = every.take().decode()
        assert 'data: {"status":200}\n' in data and 'data: {"status":502}\n' in data
        assert 'event: missed\ndata: {"records":7}' in data
        assert told(errors) == [{"status": 502}]


def test_records_of_those_who_follow_only() -> None:
    with admin() as client:
        client.lb.get("http://x/before", frontend="web")
        every, errors, db = (
            follow(client),
            follow(client, "?errors=true"),
            follow(client, "?frontend=db"),
        )
        client.lb.get("http://x/hello", frontend="web")
        (record,) = told(every)
        assert (record["status"], record["server"]) == (200, "b")
        client.lb.origins["a"].stop()
        client.lb.origins["b"].stop()
        client.lb.get("http://x/bad", frontend="web")
        assert [one["status"] for one in told(every)] == [502]
        assert [one["status"] for one in told(errors)] == [502]
        assert told(db) == []
        every.close()
        errors.close()
        assert client.lb.service.frontend("web").followers == ()
        assert len(client.lb.service.frontend("db").followers) == 1


def test_records_say_where_the_client_is(tmp_path: Path) -> None:
    file = tmp_path / "country.mmdb"
    write_mmdb(file, {"203.0.113.0/24": {"country": {"iso_code": "FR"}}})
    text = TEXT.replace("[lbproxy]\n", f"[lbproxy]\ngeoip = {file}\n", 1)
    with admin(text) as client:
        raw = follow(client)
        client.lb.get("http://x/", frontend="web", client="203.0.113.9")
        client.lb.get("http://x/", frontend="web", client="198.51.100.7")
        found = [(one["country"], one["asn"]) for one in told(raw)]
        assert found == [("FR", None), ("", None)]
    with admin() as client:
        raw = follow(client)
        client.lb.get("http://x/", frontend="web")
        assert "country" not in told(raw)[0]


def test_tcp_sessions_too() -> None:
    with admin() as client:
        client.lb.tcp_origin("db1", "10.0.2.1:5432", lambda data: data)
        raw = follow(client)
        session = client.lb.connect("db")
        session.send(b"hello")
        session.close()
        client.lb.advance(1)
        (record,) = told(raw)
        assert (record["frontend"], record["bytes_in"]) == ("db", 5)


def test_refused_connections_too(tmp_path: Path) -> None:
    file = tmp_path / "country.mmdb"
    write_mmdb(file, {"203.0.113.0/24": {"country": {"iso_code": "FR"}}})
    for geoip in ("", f"geoip = {file}\n"):
        text = TEXT.replace("[lbproxy]\n", f"[lbproxy]\n{geoip}", 1)
        with admin(
            re.sub(r"(?m)^(\[frontend (web|db)\])$", r"\1\ndeny = 203.0.113.9", text)
        ) as client:
            raw = follow(client)
            for frontend in ("web", "db"):
                client.lb.connect(frontend, client="203.0.113.9")
            client.lb.advance(1.1)
            found = [(one["close"], one["client_ip"], one.get("country")) for one in told(raw)]
            assert found == [("denied", "203.0.113.9", "FR" if geoip else None)] * 2


def test_no_more_than_a_bound() -> None:
    with admin() as client:
        raw = follow(client)
        follower = client.lb.service.frontend("web").followers[0]
        client.lb.get("http://x/", frontend="web")
        frontend = client.lb.service.frontend("web")
        seen: list[Any] = []
        frontend.followers = (*frontend.followers, seen.append)
        client.lb.get("http://x/", frontend="web")
        for _ in range(RATE + 50):
            follower(seen[0])
        client.lb.advance(1.1)
        data = raw.take().decode()
        assert data.count("event: record") == RATE
        assert 'event: missed\ndata: {"records":52}' in data


def test_it_goes_on_after_a_reload() -> None:
    with admin() as client:
        raw = follow(client)
        report = client.lb.service.reload(
            TEXT.replace("weight=3", "weight=4").replace(
                "backend = app", "max_headers = 50\nbackend = app"
            )
        )
        assert report.ok, report.text()
        client.lb.advance(1.1)
        client.lb.get("http://x/", frontend="web")
        assert len(told(raw)) == 1


def test_a_frontend_that_is_not_there() -> None:
    with admin() as client:
        assert client.ask("GET", "logs/stream?frontend=wep").data["error"]["nearest"] == ["web"]
