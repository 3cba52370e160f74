"""Origins are compared as a whole, and preflights are answered with what they ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cors.origins import (
    AccessRules,
    checked_origin,
    preflight_fields,
    preflight_of,
)

APP = "https://app.example.com"


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        (APP, APP),
        ("HTTPS://App.Example.com:443", APP),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
        ("null", "null"),
        ("chrome-extension://abc", "chrome-extension://abc"),
    ],
)
def test_origin(text: str, origin: str) -> None:
    assert checked_origin(text) == origin


@pytest.mark.parametrize(
    "text", ["", "*", "app.example.com", f"{APP}/", f"{APP}/x", "https://*.example.com", "https://"]
)
def test_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        checked_origin(text)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        f"{APP}.evil.example",
        f"{APP}:8443",
        "http://app.example.com",
        "https://evil-app.example.com",
        "https://app.example.co",
        f"{APP}/",
        "HTTPS://app.example.com",
        "",
    ],
)
def test_other_origins_are_refused(origin: str) -> None:
    for keys in (False, True):
        rules = AccessRules([APP], keys=keys)
        assert rules.allows_origin(APP)
        assert not rules.allows_origin(origin)


def test_rules_add_up() -> None:
    assert not AccessRules([APP]).allows_origin(None)
    assert AccessRules([APP], keys=True).allows_origin(None)
    assert AccessRules([APP], keys=True).needs_key
    assert AccessRules(keys=True).allows_origin("https://any.example")
    assert AccessRules().allows_origin(None)
    assert AccessRules(["null"]).allows_origin("null")


@given(st.text(max_size=40))
def test_only_listed_ones_pass(origin: str) -> None:
    assert AccessRules([APP]).allows_origin(origin) is (origin == APP)


def asked(**headers: bytes) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value for name, value in headers.items()}


def test_preflight() -> None:
    headers = asked(
        origin=APP.encode(),
        access_control_request_method=b"PUT",
        access_control_request_headers=b"x-a, content-type",
        access_control_request_private_network=b"true",
    )
    found = preflight_of(b"OPTIONS", headers.get)
    assert found is not None
    fields = dict(preflight_fields(found, credentials=False))
    assert fields[b"Access-Control-Allow-Origin"] == APP.encode()
    assert fields[b"Access-Control-Allow-Methods"] == b"PUT"
    assert fields[b"Access-Control-Allow-Headers"] == b"x-a, content-type"
    assert fields[b"Vary"].startswith(b"Origin")
    assert b"Access-Control-Allow-Credentials" not in fields
    assert b"Access-Control-Allow-Private-Network" not in fields
    assert (b"Access-Control-Allow-Credentials", b"true") in preflight_fields(
        found, credentials=True
    )


def test_no_preflight() -> None:
    origin = asked(origin=APP.encode())
    method = asked(access_control_request_method=b"PUT")
    assert preflight_of(b"OPTIONS", origin.get) is None
    assert preflight_of(b"OPTIONS", method.get) is None
    assert preflight_of(b"GET", {**origin, **method}.get) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"access_control_request_method": b"P UT"},
        {"access_control_request_headers": b"a b"},
        {"access_control_request_headers": b"a," * 4096},
    ],
)
def test_bad_preflights(bad: dict[str, bytes]) -> None:
    headers = asked(**{"origin": b"x", "access_control_request_method": b"GET", **bad})
    with pytest.raises(ValueError, match="is not a"):
        preflight_of(b"OPTIONS", headers.get)
