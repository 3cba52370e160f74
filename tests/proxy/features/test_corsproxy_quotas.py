"""Quotas of a CORS proxy by key and by origin, their counts, and keys that are revoked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ada_url")

from lbproxy.config.errors import ConfigErrors
from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.cors.quota import Quota
from lbproxy.limits.atonce import AtOnce
from lbproxy.limits.rate import Rate
from lbproxy.proxy.features.corsproxy.keyusage import usage_of
from lbproxy.proxy.features.corsproxy.quotas import Admitted, Quotas, origin_subject
from lbproxy.proxy.features.corsproxy.usagefile import UsageFile
from lbproxy.registry import parse_config
from lbproxy.sharing.local import LocalShared
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from tests.support.keyedcors import APP, KEY, KeyedCors
from tests.support.keyedcors import call as keyed_call

TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
[frontend cors]
mode = corsproxy
listen = tcp:8090
{more}
"""
HOUR = 3600.0
UPGRADE = (
    b"GET /?url=ws://api.example.com/socket HTTP/1.1\r\nHost: proxy\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nX-Api-Key: %b\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
NO_QUOTA = Quota()
UPGRADE = (
    b"GET /?url=ws://api.example.com/socket HTTP/1.1\r\nHost: proxy\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nX-Api-Key: %b\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def call(lb: LoadBalancerFixture, method: str = "GET", **more: Any) -> Response:
    """Call the proxy with the key from an origin."""
    headers = {"X_Api_Key": KEY, "Origin": APP, **more}
    return keyed_call(lb, "http://api.example.com/x", method=method, **headers)


def used(keyed: KeyedCors, lb: LoadBalancerFixture) -> dict[str, Any]:
    """The usage of the first key, as ``lbproxy keys usage`` reads it."""
    records = KeyRing.read(keyed.path.read_text()).records
    return usage_of(records, f"{keyed.path}.usage", lb.reactor.seconds())[0]


def rate(amount: int, seconds: float = HOUR) -> Rate:
    return Rate(amount, seconds, amount)


def test_requests(keyed: KeyedCors) -> None:
    lb = keyed.start(quota=Quota(requests=rate(3)))
    target = lb.origin("api", "10.1.0.1:80")
    assert [call(lb).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert len(target.requests) == 3
    refused = call(lb)
    error = json.loads(refused.body)["error"]
    assert error["message"] == "the quota of requests of this key is exceeded"
    assert error["requestId"]
    assert refused.header("Access-Control-Allow-Origin") == APP
    assert refused.header("Access-Control-Expose-Headers") == "Retry-After"
    wait = int(refused.header("Retry-After"))
    assert HOUR - 60 <= wait <= HOUR * 9 / 8 + 1
    found = used(keyed, lb)
    assert (found["requests"], found["refused"], found["bytes_out"]) == (3, 3, 6)
    assert found["quotas"] == {"requests": [3, 3]}
    lb.advance(wait)
    assert call(lb).status == 200


def test_what_is_used_survives_a_restart(keyed: KeyedCors) -> None:
    lb = keyed.start(quota=Quota(requests=rate(2)))
    lb.origin("api", "10.1.0.1:80")
    assert call(lb).status == 200
    lb = keyed.start(quota=Quota(requests=rate(2)))  # the first one was not stopped
    lb.origin("api", "10.1.0.1:80")
    assert [call(lb).status for _ in range(2)] == [200, 429]


def test_a_refused_call_of_other_rules_costs_nothing(keyed: KeyedCors) -> None:
    lb = keyed.start(quota=Quota(requests=rate(1)), methods=["GET"], targets=["api.example.com"])
    lb.origin("api", "10.1.0.1:80")
    assert call(lb, "POST", body=b"x").status == 403
    assert call(lb, X_Api_Key="wrong").status == 401
    assert used(keyed, lb)["requests"] == 0
    assert call(lb).status == 200


def test_bytes_cut_a_download(keyed: KeyedCors) -> None:
    lb = keyed.start(quota=Quota(bytes=rate(1000)))
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(
        b"GET /?url=http://api.example.com/ HTTP/1.1\r\nHost: proxy\r\nX-Api-Key: %b\r\n\r\n"
        % KEY.encode()
    )
    server = raw.connections[-1]
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 900)
    assert client.take().endswith(b"x" * 900)
    server.send(b"x" * 200)
    assert client.finished
    assert b"x" not in client.take()
    assert server.closed
    assert call(lb).status == 429
    assert used(keyed, lb)["bytes_out"] == 1100


def test_bytes_cut_an_upload(keyed: KeyedCors) -> None:
    lb = keyed.start(quota=Quota(bytes=rate(1000)))
    target = lb.origin("api", "10.1.0.1:80")
    response = call(lb, "POST", body=b"x" * 1001)
    assert response.status == 429
    assert json.loads(response.body)["error"]["status"] == 429
    assert target.requests == []


def test_calls_at_once(keyed: KeyedCors) -> None:
    lb = keyed.start(quota=Quota(concurrent=2))
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    text = b"GET /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\nX-Api-Key: %b\r\n\r\n"
    clients = [lb.connect("cors") for _ in range(3)]
    for client in clients:
        client.send(text % KEY.encode())
    assert clients[2].take().startswith(b"HTTP/1.1 429 ")
    clients[0].close()
    assert raw.connections[0].closed
    clients[2].send(text % KEY.encode())
    assert clients[2].take() == b""
    raw.connections[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert clients[2].take().startswith(b"HTTP/1.1 200 ")


def test_a_quota_of_each_origin(keyed: KeyedCors) -> None:
    lb = keyed.start("origin_requests = 1/1h\norigin_concurrent = 5")
    lb.origin("api", "10.1.0.1:80")
    assert call(lb).status == 200
    refused = call(lb)
    assert refused.status == 429
    assert b"of this origin" in refused.body
    assert call(lb, Origin="https://other.example").status == 200


def test_a_call_is_charged_to_all_quotas_or_to_none(keyed: KeyedCors) -> None:
    lb = keyed.start("origin_requests = 1/1h", quota=Quota(requests=rate(10)))
    lb.origin("api", "10.1.0.1:80")
    assert [call(lb).status for _ in range(3)] == [200, 429, 429]
    assert used(keyed, lb)["quotas"] == {"requests": [1, 10]}


def test_outcomes(keyed: KeyedCors) -> None:
    lb = keyed.start()
    lb.origin("api", "10.1.0.1:80", lambda request: Answer(404))
    assert call(lb).status == 404
    assert call(lb, X_Target_URL="http://10.1.0.9/").status in (502, 504)
    found = used(keyed, lb)
    assert (found["requests"], found["failed"], found["last"]) == (2, 1, 0)


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_websocket_ends_with_its_key(keyed: KeyedCors, end: str) -> None:
    lb = keyed.start(expires=60.0)
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(UPGRADE % KEY.encode())
    server = raw.connections[-1]
    server.send(SWITCH)
    assert client.take().startswith(b"HTTP/1.1 101 ")
    lb.advance(5.0)
    assert not client.finished
    if end == "revoked":
        keyed.write()
        lb.advance(2.0)
    else:
        lb.advance(56.0)
    assert client.finished
    assert server.finished


def test_bytes_end_a_websocket(keyed: KeyedCors) -> None:
    lb = keyed.start(quota=Quota(bytes=rate(100), concurrent=1))
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(UPGRADE % KEY.encode())
    server = raw.connections[-1]
    server.send(SWITCH)
    client.take()
    client.send(b"x" * 60)
    server.send(b"y" * 60)
    assert client.finished
    assert server.finished
    found = used(keyed, lb)
    assert (found["bytes_in"], found["bytes_out"]) == (60, 60)
    assert call(lb).status == 429


def test_a_websocket_of_a_proxy_that_was_reloaded_ends_with_its_key(keyed: KeyedCors) -> None:
    lb = keyed.start()
    raw = lb.tcp_origin("raw", "10.1.0.1:80")
    client = lb.connect("cors")
    client.send(UPGRADE % KEY.encode())
    raw.connections[-1].send(SWITCH)
    assert client.take().startswith(b"HTTP/1.1 101 ")
    lb.service.reload(parse_config(keyed.text("max_response = 1m")))
    lb.advance(3.0)
    assert not client.finished
    keyed.write()
    lb.advance(3.0)
    assert client.finished


def test_referrers_of_a_key(keyed: KeyedCors) -> None:
    lb = keyed.start(referrers=["app.example.com/docs/*"])
    lb.origin("api", "10.1.0.1:80")
    assert call(lb).status == 403
    assert call(lb, Referer="https://evil.example/docs/").status == 403
    page = f"{APP}/docs/a"
    assert call(lb, Referer=page).status == 200
    assert call(lb, Referer=f"{page}?key={KEY}").status == 200


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("open = yes\norigin_requests = 5/1h burst=9", "without burst="),
        ("open = yes\norigin_bytes = 5/100ms", "at least 1s"),
        ("open = yes\nusage = u", "usage is for keys"),
    ],
)
def test_configurations_that_are_refused(more: str, words: str) -> None:
    with pytest.raises(ConfigErrors, match=words):
        LB.from_config(TEXT.format(more=more))


def test_origins_are_counted_without_keys() -> None:
    lb = LB.from_config(TEXT.format(more=f"origins = {APP}\norigin_requests = 1/1h"))
    lb.reactor.resolver.table["api.example.com"] = ["10.1.0.1"]
    seen: list[Request] = []

    def answer(request: Request) -> bytes:
        seen.append(request)
        return b"ok"

    lb.origin("api", "10.1.0.1:80", answer)
    assert [call(lb).status for _ in range(2)] == [200, 429]
    assert len(seen) == 1
    lb.close()


def test_invented_origins_do_not_displace_the_counts_of_a_key(tmp_path: Path) -> None:
    record = KeyRecord("app", hashed(KEY), quota=Quota(requests=Rate(5.0, HOUR, 5.0)))
    usage = UsageFile(str(tmp_path / "usage"), subjects=20)
    of_origins = Quota(requests=Rate(100.0, HOUR, 100.0))
    at_once = AtOnce(LocalShared(), "corsproxy", 0)
    quotas = Quotas(usage, at_once, of_origins, lambda: 1e9, listed=[APP])
    admitted = [quotas.admit(record, f"https://{number}.example") for number in range(1000)]
    assert sum(isinstance(one, Admitted) for one in admitted) == 5
    quotas.admit(record, APP)
    usage_of_key = usage.table.read(record.sha256)
    assert (usage_of_key.requests, usage_of_key.refused) == (5.0, 996.0)
    assert usage.table.read(origin_subject(APP)).refused == 1.0
    usage.close()
