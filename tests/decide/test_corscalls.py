"""Calls of a CORS proxy in ``lbproxy explain``, ``replay`` and ``check``."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("ada_url")

from lbproxy.cli import main
from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.cors.quota import Quota
from lbproxy.decide.explain import Explanation, explain_http
from lbproxy.decide.replay import replay
from lbproxy.limits.atonce import AtOnce
from lbproxy.limits.rate import Rate
from lbproxy.proxy.features.corsproxy.quotas import Quotas
from lbproxy.proxy.features.corsproxy.usagefile import UsageFile
from lbproxy.registry import parse_config
from lbproxy.sharing.local import LocalShared

APP = "https://app.example.com"
TEXT = """
[egress fra]
proxy = socks5://127.0.0.1:1080
alias = ams
[cache main]
memory = 1m
[frontend cors]
mode = corsproxy
listen = tcp:8090
cache = main
origins = https://app.example.com
origin_requests = 9/1h
keys = {path}
"""
QUOTA = Quota(Rate(3, 3600, 3), None, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    records = [
        KeyRecord("app", hashed("K"), targets=["api.example.com"], quota=QUOTA),
        KeyRecord("old", hashed("O"), expires=1.0),
    ]
    file.write_text(KeyRing(records).dump())
    return file


def explain(path: Path, query: str, **headers: str) -> Explanation:
    given = {"Origin": APP, "X-Api-Key": "K", **headers}
    pairs = [(name.encode(), value.encode()) for name, value in given.items() if value]
    config = parse_config(TEXT.format(path=path))
    return explain_http(config, "GET", f"http://proxy:8090/{query}", pairs)


def test_a_call_that_goes_on(path: Path) -> None:
    found = explain(path, "?url=https://api.example.com/x&colo=AMS")
    assert found.error == ""
    assert found.action.startswith("fetches")
    assert found.calls == [
        f"origin {APP}: allowed",
        "key app target=api.example.com requests=3/1h concurrent=4",
        "exit fra, by proxy",
        "target https://api.example.com/x: allowed, addresses are judged when it is resolved",
        "quota of key app: 0 of 3 requests used, 4 calls at once",
        f"quota of origin {APP}: 0 of 9 requests used",
        "cache main: key backend='corsproxy cors exit:fra' scheme=https host=api.example.com"
        " target=/x",
    ]
    assert "call       key app " in found.as_text()


@pytest.mark.parametrize(
    ("query", "headers", "error"),
    [
        ("?url=https://api.example.com/", {"Origin": "https://b.example"}, "403: this origin"),
        ("?url=https://api.example.com/", {"X-Api-Key": ""}, "401: a valid key"),
        ("?url=https://api.example.com/", {"X-Api-Key": "O"}, "401: a valid key"),
        ("?url=https://b.example.com/", {}, "403: this key may not be used for this target"),
        ("?url=http://10.0.0.1/", {}, "403: 10.0.0.1 is "),
        ("?url=https://api.example.com:22/", {}, "403: port 22 is not allowed"),
        ("?url=https://api.example.com/&colo=xyz", {}, "400: there is no exit 'xyz'"),
        ("?url=https://api.example.com/&other=1", {}, "400: unknown parameter"),
        ("?url=https://api.example.com/&convert=csv", {}, "400: the parameter convert"),
        ("?url=wss://api.example.com/", {}, "400: a ws or wss URL"),
        ("nothing", {}, "404: the request names no target"),
    ],
)
def test_a_call_that_is_refused(
    path: Path, query: str, headers: dict[str, str], error: str
) -> None:
    if "&other" in query or "&convert" in query:
        query = query.replace("https://api.example.com/", "https%3A%2F%2Fapi.example.com%2F")
    found = explain(path, query, **headers)
    assert found.error.startswith(f"refused with {error}")
    assert found.action == ""


def test_a_quota_that_is_used_up(path: Path) -> None:
    usage = UsageFile(f"{path}.usage")
    quotas = Quotas(usage, AtOnce(LocalShared(), "c", 0), Quota(), time.time)
    record = KeyRing.read(path.read_text()).find("K", time.time())
    for _ in range(3):
        quotas.admit(record, None)
    usage.close()
    found = explain(path, "?url=https://api.example.com/x")
    assert "quota of key app: 3 of 3 requests used, 4 calls at once, refused with 429 now" in (
        found.calls
    )


def test_pages_and_preflights(path: Path) -> None:
    page = explain(path, "status")
    assert (page.calls, page.action) == (["the page /status"], "answered by lbproxy itself")
    headers = [(b"Origin", APP.encode()), (b"Access-Control-Request-Method", b"PUT")]
    config = parse_config(TEXT.format(path=path))
    found = explain_http(config, "OPTIONS", "http://proxy:8090/?url=x", headers)
    assert found.calls[-1] == "a preflight: answered with 204"
    assert found.action == "answered by lbproxy itself"


def test_replay_compares_targets_and_exits(path: Path) -> None:
    old = parse_config(TEXT.format(path=path))
    new = parse_config(TEXT.format(path=path) + "egress = fra\nguard_ports = 443\n")
    line = '192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] "GET {} HTTP/1.1" 200 2'
    lines = [
        line.format("/?url=https://api.example.com/x"),
        line.format("/?url=http://api.example.com/x"),
        line.format("/?url=https://api.example.com/x&colo=fra"),
        line.format("/?url=https://10.0.0.1/"),
    ]
    found = replay(lines, old, new, frontend="cors")
    fields = [one.fields for one in found.differences]
    assert {
        "call": ("https://api.example.com/x by the direct way", "https://api.example.com/x by fra")
    } in fields
    assert any(
        one.get("answer", ("", ""))[1].startswith("403 port 80 is not allowed") for one in fields
    )
    assert found.changed == 2
    assert any("Origin" in word for word in found.unknown)


def test_check_shows_who_may_call(path: Path) -> None:
    file = path.parent / "lb.ini"
    file.write_text(TEXT.format(path=path))
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 0, result.output
    assert (
        f"CORS proxy cors: origins {APP}, 2 keys of {path} with 1 expired and 1 without a quota,"
        " each origin requests=9/1h, ports 80 443, exits direct fra"
    ) in result.output
