"""``lbproxy why`` knows each kind of refusal, with the rule and in the log and the metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen

from lbproxy.errors import MEANING, Kind

from .kit import AdminClient, admin

CLIENT = "203.0.113.9"
TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

{sections}
[frontend web]
listen = tcp:8080{listen}
access_log = web.log json
{frontend}

[backend app]
servers = a 10.0.0.1:8000{server}
queue = 1
"""
SHOWN = (Kind.DENIED, Kind.BLOCKED, Kind.RATE_LIMITED, Kind.CHALLENGED, Kind.BANNED)
"""Decisions about a client: its page has the request id."""
GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"


@frozen
class Case:
    """A refusal: the configuration, what the client sends, and what is said about it.

    ``times``: requests, of which the last is refused; each has a connection.  ``wait``: seconds
    until the refusal.  ``before``: changes the world first.
    """

    kind: Kind
    says: str
    frontend: str = ""
    sections: str = ""
    raw: bytes = GET
    times: int = 1
    wait: float = 0.0
    server: str = ""
    listen: str = ""
    before: Callable[[AdminClient], Any] | None = None

    def __str__(self) -> str:
        return f"{self.kind.value}-{self.says.replace(' ', '_')}"


def ban(client: AdminClient) -> None:
    client.ask("POST", "bans/add", {"address": CLIENT, "reason": "scraper"})


def hang(client: AdminClient) -> None:
    client.lb.origins["a"].hang()


def stop(client: AdminClient) -> None:
    client.lb.origins["a"].stop()


def _head(*lines: str, method: str = "GET", path: str = "/x") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *lines, "", ""]).encode()


CASES = (
    Case(Kind.DENIED, "is not allowed", "deny = 203.0.113.0/24"),
    Case(Kind.DENIED, "office", "deny = list:office", "[list office]\naddresses = 203.0.113.9\n"),
    Case(
        Kind.BLOCKED,
        "942100",
        "waf = w",
        "[waf w]\n",
        _head(path="/?q=%27%20or%201=1--%20"),
    ),
    Case(
        Kind.DENIED, "not in list:office", "allow = list:office", "[list office]\naddresses = ::1\n"
    ),
    Case(Kind.LIMITED, "", "maxconn_per_ip = 1", times=2),
    Case(Kind.RATE_LIMITED, "limit one", "limits = one", "[limit one]\nrate = 1/1h\n", times=2),
    Case(
        Kind.RATE_LIMITED,
        "limit one",
        "limits = one",
        "[limit one]\nconcurrent = 1\nunit = connections\n",
        times=2,
    ),
    Case(Kind.CHALLENGED, "", "challenge = on", raw=_head("Accept: text/html")),
    Case(Kind.BANNED, "rude", "bans = rude", "[ban rude]\naction = reject\n", before=ban),
    Case(Kind.BANNED, "rude", "bans = rude", "[ban rude]\naction = close\n", before=ban),
    Case(Kind.NO_ROUTE, "", "routes = path /a -> app"),
    Case(Kind.BAD_REQUEST, "no host", raw=b"GET / HTTP/1.1\r\n\r\n"),
    Case(Kind.HEADERS_TOO_LARGE, "", raw=_head("X: " + "x" * 100_000)),
    Case(Kind.URL_TOO_LONG, "", raw=_head(path="/" + "x" * 100_000)),
    Case(
        Kind.BODY_TOO_LARGE, "", "max_body = 1k", raw=_head("Content-Length: 9999", method="POST")
    ),
    Case(Kind.METHOD_REFUSED, "", raw=_head(method="CONNECT", path="h:443")),
    Case(Kind.UNSUPPORTED, "", raw=_head("Transfer-Encoding: gzip, chunked", method="POST")),
    Case(Kind.CLIENT_TIMEOUT, "", raw=b"GET / HTTP/1.1\r\n", wait=70),
    Case(
        Kind.CLIENT_SLOW,
        "",
        "min_body_rate = 500/s",
        raw=_head("Content-Length: 9999", method="POST") + b"x",
        wait=70,
    ),
    Case(Kind.BAD_PREAMBLE, "", raw=b"PROXY junk\r\n", listen=" accept_proxy=203.0.113.9"),
    Case(Kind.SHED, "", "shed = queue 50%", server=" maxconn=1", times=4, before=hang),
    Case(Kind.NO_SERVER, "", server=" disabled"),
    Case(Kind.LOOP_DETECTED, "", raw=_head(*["Via: 1.1 lbproxy"] * 30)),
    Case(Kind.CONNECT_FAILED, "", before=stop, wait=10),
    Case(Kind.QUEUE_FULL, "", server=" maxconn=1", times=3, before=hang),
    Case(Kind.QUEUE_TIMEOUT, "", server=" maxconn=1", times=2, wait=11, before=hang),
    Case(Kind.RESPONSE_TIMEOUT, "", wait=70, before=hang),
)


ELSEWHERE = {
    Kind.EXPECTATION_FAILED,  # a word of the log that lbproxy itself does not use
    Kind.FILTER_FAILED,  # of a filter of the user
    Kind.FILTER_TIMEOUT,
    Kind.SHUTDOWN,  # nobody can ask any more
    Kind.CIRCUIT_OPEN,  # refusals because of servers are recorded like those of queues
    Kind.SESSION_KILLED,
}


def test_the_table_is_complete() -> None:
    refusals = {
        kind
        for kind, meaning in MEANING.items()
        if meaning.status and meaning.side in ("client", "proxy")
    }
    assert refusals - {case.kind for case in CASES} <= ELSEWHERE


def _config(case: Case) -> str:
    frontend = case.frontend
    if "routes" not in frontend and "backend" not in frontend:
        frontend += "\nbackend = app"
    return TEXT.format(
        sections=case.sections, frontend=frontend, server=case.server, listen=case.listen
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_kind_of_refusal_is_explained(case: Case) -> None:
    if case.kind is Kind.BLOCKED:
        pytest.importorskip("re2")
    with admin(_config(case)) as client:
        if case.before is not None:
            case.before(client)
        for _ in range(case.times):
            raw = client.lb.connect("web")
            raw.send(case.raw)
        client.lb.advance(case.wait)
        (one,) = client.get(f"refusals?client={CLIENT}")["items"][:1]
        assert one["close"] == case.kind.value
        assert case.says in one["detail"]
        if one["status"]:
            assert raw.received[9:12] == b"%d" % one["status"]
            assert (one["request_id"].encode() in raw.received) is (case.kind in SHOWN)
            assert client.get(f"refusals/{one['request_id']}") == one
        records = [json.loads(line) for line in client.lb.log_lines("web.log")]
        assert case.kind.value in [record["close"] for record in records]
        text = client.ask("GET", "/metrics").response.text
        assert f'close="{case.kind.value}"' in text
