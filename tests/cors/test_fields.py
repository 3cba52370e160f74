"""Which fields pass, and that the fields of the policy always win."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cors.fields import allow_fields, request_fields, response_fields
from lbproxy.cors.redirects import Step, is_redirect, passed_location, redirect_step
from lbproxy.cors.replies import error_body

APP = b"https://app.example.com"


def answered(*pairs: tuple[bytes, bytes], **given: Any) -> list[tuple[bytes, bytes]]:
    options: dict[str, Any] = {"origin": APP, "final_url": b"https://a.example/", **given}
    return response_fields(pairs, **options)


def values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for one, value in fields if one.lower() == name.lower()]


@pytest.mark.parametrize(
    "name",
    [
        b"Set-Cookie",
        b"Content-Security-Policy-Report-Only",
        b"Strict-Transport-Security",
        b"X-Frame-Options",
        b"Clear-Site-Data",
        b"Service-Worker-Allowed",
        b"Alt-Svc",
        b"Refresh",
        b"Public-Key-Pins",
        b"Cross-Origin-Resource-Policy",
        b"Keep-Alive",
        b"Cross-Origin-Opener-Policy-Report-Only",
        b"Accept-CH",
        b"Use-As-Dictionary",
        b"X-Accel-Redirect",
        b"X-Sendfile",
        b"Access-Control-Allow-Private-Network",
        b"Access-Control-Anything",
    ],
)
def test_stripped_from_responses(name: bytes) -> None:
    assert values(answered((name, b"theirs"), (name.upper(), b"theirs")), name) == []
    changed = answered(changes=[(name.decode(), "ours")], allowed=[name.decode().lower()])
    assert values(changed, name) == []


def test_policy_fields() -> None:
    fields = answered(
        (b"Content-Type", b"text/html"),
        (b"access-control-allow-origin", b"*"),
        (b"Content-Security-Policy", b"default-src *"),
        (b"X-Content-Type-Options", b"none"),
        (b"Vary", b"Accept-Encoding"),
    )
    assert values(fields, b"Access-Control-Allow-Origin") == [APP]
    assert values(fields, b"Access-Control-Allow-Credentials") == []
    assert values(fields, b"Content-Security-Policy") == [b"sandbox"]
    assert values(fields, b"X-Content-Type-Options") == [b"nosniff"]
    assert values(fields, b"Vary") == [b"Accept-Encoding, Origin"]
    assert values(fields, b"X-Final-URL") == [b"https://a.example/"]
    assert b"content-type" in values(fields, b"Access-Control-Expose-Headers")[0]


def test_without_origin() -> None:
    fields = answered(origin=None)
    assert not [name for name, _ in fields if name.lower().startswith(b"access-control-")]
    assert values(fields, b"Vary") == [b"Origin"]
    assert allow_fields(APP, credentials=True, vary=[b"*"])[0] == (b"Vary", b"*")


def test_changes_of_responses() -> None:
    fields = answered(
        (b"Cache-Control", b"no-store"),
        (b"X-Gone", b"1"),
        (b"X-Kept", b"1"),
        changes=[("cache-control", "max-age=5"), ("x-gone", ""), ("x-kept", ""), ("vary", "")],
        allowed=["cache-control", "x-gone", "vary"],
    )
    assert values(fields, b"cache-control") == [b"max-age=5"]
    assert values(fields, b"x-gone") == []
    assert values(fields, b"x-kept") == [b"1"]


def asking(*names: str, **given: Any) -> list[bytes]:
    pairs = [(name.encode(), b"value") for name in names]
    return [name for name, _ in request_fields(pairs, **given)]


def test_stripped_from_requests() -> None:
    gone = (
        "Cookie X-Forwarded-For X-Forwarded-Host Forwarded CF-Connecting-IP Proxy-Authorization"
        " Connection Host Sec-Fetch-Site X-Api-Key X-Mine TE Upgrade"
    )
    kept = "Accept Authorization Origin Content-Type"
    found = asking(*gone.split(), *kept.split(), own=[b"x-api-key"], nominated=[b"x-mine"])
    assert found == [name.encode() for name in kept.split()]


def test_a_redirect_elsewhere_drops_credentials() -> None:
    assert asking("Authorization", "Cookie", "Accept", same_origin=False, cookies=True) == [
        b"Accept"
    ]
    assert asking("Cookie", cookies=True) == [b"Cookie"]
    again = asking(changes=[("Authorization", "x")], allowed=["authorization"], same_origin=False)
    assert again == []
    assert asking("Content-Type", "Content-Length", body=False) == []


def test_a_referer_with_the_key_is_dropped() -> None:
    pairs = [(b"Referer", b"https://p.example/?key=K3Y")]
    assert request_fields(pairs, key=b"K3Y") == []
    assert request_fields(pairs, key=b"other") == pairs
    assert request_fields(pairs) == pairs


def test_changes_of_requests() -> None:
    found = request_fields(
        [(b"Accept", b"a"), (b"User-Agent", b"u")],
        changes=[("accept", "b"), ("user-agent", ""), ("cookie", "c"), ("x-no", "1")],
        allowed=["accept", "user-agent", "cookie"],
    )
    assert found == [(b"accept", b"b")]


names = st.sampled_from(
    [b"Access-Control-Allow-Origin", b"access-control-allow-credentials", b"Vary", b"X-A"]
)
pairs = st.lists(st.tuples(names, st.sampled_from([b"*", b"null", b"a, b"])), max_size=8)


@given(pairs, pairs)
def test_there_is_one_policy(
    theirs: list[tuple[bytes, bytes]], wanted: list[tuple[bytes, bytes]]
) -> None:
    fields = answered(
        *theirs,
        changes=[(name.decode(), value.decode()) for name, value in wanted],
        allowed=[name.decode().lower() for name, _ in wanted],
    )
    assert values(fields, b"Access-Control-Allow-Origin") == [APP]
    assert values(fields, b"Access-Control-Allow-Credentials") == []
    assert len(values(fields, b"Vary")) == 1


@pytest.mark.parametrize(
    ("status", "method", "step"),
    [
        (301, b"POST", Step(b"GET", False)),
        (302, b"POST", Step(b"GET", False)),
        (302, b"PUT", Step(b"PUT", True)),
        (301, b"DELETE", Step(b"DELETE", True)),
        (303, b"PUT", Step(b"GET", False)),
        (303, b"HEAD", Step(b"HEAD", True)),
        (303, b"GET", Step(b"GET", True)),
        (307, b"POST", Step(b"POST", True)),
        (308, b"POST", Step(b"POST", True)),
    ],
)
def test_redirect_methods(status: int, method: bytes, step: Step) -> None:
    assert is_redirect(status)
    assert redirect_step(status, method) == step


def test_redirects() -> None:
    assert not any(map(is_redirect, (200, 300, 304, 305, 306, 404)))
    assert passed_location("https://a/?b=c&d") == b"/?url=https%3A%2F%2Fa%2F%3Fb%3Dc%26d"


def test_error_body() -> None:
    assert error_body(403, "no", "id") == (
        b'{"error": {"status": 403, "message": "no", "requestId": "id"}}\n'
    )
