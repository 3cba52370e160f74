"""API keys of CORS proxies over the API: list, add, revoke, usage, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ada_url")

from lbproxy.cors.keys import KeyRecord, KeyRing, hashed

from .kit import AdminClient, admin

TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1
guard_public = 10.1.0.0/24
[frontend cors]
mode = corsproxy
listen = tcp:8090
keys = {path}
origins = https://app.example.com
origin_requests = 9/1h
[frontend web]
listen = tcp:8080
backend = app
[backend app]
servers = a 10.0.0.1:8000
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "keys.json"
    found.write_text(KeyRing([KeyRecord("first", hashed("K1"), targets=["10.1.0.1"])]).dump())
    return found


@pytest.fixture
def client(path: Path) -> Iterator[AdminClient]:
    with admin(TEXT.format(path=path)) as found:
        found.lb.origin("target", "10.1.0.1:80")
        yield found


def call(client: AdminClient, key: str, url: str = "http://10.1.0.1/") -> int:
    headers = {"X-Api-Key": key, "Origin": "https://app.example.com", "X-Target-URL": url}
    return client.lb.get("http://h:8090/", headers=headers).status


def test_list_and_usage(client: AdminClient) -> None:
    assert [call(client, key) for key in ("K1", "K1", "none")] == [200, 200, 401]
    assert call(client, "K1", "http://10.1.0.2/") == 403
    (found,) = client.get("frontends/cors/keys")["items"]
    assert (found["name"], found["rules"]) == ("first", ["target=10.1.0.1"])
    assert (found["requests"], found["bytes_out"], found["running"]) == (2, 4, 0)
    (origin,) = client.get("frontends/cors/origins")["items"]
    assert (origin["name"], origin["quotas"]) == ("https://app.example.com", {"requests": [2, 9]})
    state = client.get("state")
    assert state["corskeys"]["cors/first"]["requests"] == 2
    assert state["corsproxy"]["cors"]["refused_key"] == 1
    shown = client.get("frontends/cors")["corsproxy"]
    assert (shown["allowed"], shown["refused_target"]) == (2, 1)
    assert client.get("frontends/web")["corsproxy"] is None
    text = client.ask("GET", "/metrics").response.text
    assert 'lbproxy_corsproxy_calls_total{frontend="cors",outcome="allowed"} 2' in text
    key = 'lbproxy_corsproxy_key_calls_total{frontend="cors",key="first",outcome="requests"} 2'
    assert key in text
    assert 'frontend="web",outcome' not in text


def test_add_and_revoke(client: AdminClient, path: Path) -> None:
    body = {"name": "new", "requests": "2/1h", "concurrent": 3, "methods": ["get"]}
    made = client.ask("POST", "frontends/cors/keys", body)
    assert made.status == 200, made.data
    assert made.data["rules"] == ["method=GET", "requests=2/1h", "concurrent=3"]
    key = made.data["key"]
    assert key not in path.read_text()
    assert [call(client, key) for _ in range(3)] == [200, 200, 429]
    events = client.get("events")
    assert "key new of cors added" in str(events)
    assert key not in str(events)
    assert client.ask("POST", "frontends/cors/keys", body).status == 409
    assert client.ask("DELETE", "frontends/cors/keys/new").data == {"revoked": 1}
    assert call(client, key) == 401
    assert client.ask("DELETE", "frontends/cors/keys/new").status == 404
    assert [one.name for one in KeyRing.read(path.read_text()).records] == ["first"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "a b"}, "not the name of a key"),
        ({"name": "a", "requests": "5"}, "is not a rate"),
        ({"name": "a", "bytes": "1g/10ms"}, "less than a second"),
        ({"name": "a", "expires": "soon"}, "not a duration"),
        ({"name": "a", "limit": 5}, "unknown key"),
    ],
)
def test_rules_that_are_wrong(client: AdminClient, body: dict[str, object], words: str) -> None:
    answer = client.ask("POST", "frontends/cors/keys", body)
    assert answer.status == 400
    assert words in answer.message


def test_a_frontend_without_keys(client: AdminClient) -> None:
    assert client.ask("GET", "frontends/web/keys").status == 409
    assert client.ask("GET", "frontends/web/origins").status == 409
    assert client.ask("GET", "frontends/none/keys").status == 404


def test_a_file_that_cannot_be_written(client: AdminClient, path: Path) -> None:
    path.unlink()
    path.mkdir()
    answer = client.ask("POST", "frontends/cors/keys", {"name": "a"})
    assert answer.status == 409
    assert "keys.json cannot be written" in answer.message


def test_the_first_hundred_keys_are_named(client: AdminClient, path: Path) -> None:
    records = [KeyRecord(f"k{number}", hashed(str(number))) for number in range(150)]
    path.write_text(KeyRing(records).dump())
    client.lb.advance(2.0)
    assert len(client.get("state")["corskeys"]) == 100
    assert client.get("frontends/cors/keys")["total"] == 150
    text = client.ask("GET", "/metrics").response.text
    assert text.count("lbproxy_corsproxy_key_bytes_total{") == 200
