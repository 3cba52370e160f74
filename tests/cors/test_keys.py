"""API keys: the file, patterns of targets, expiry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.cors.patterns import TargetPattern
from lbproxy.cors.quota import Quota
from lbproxy.limits.rate import Rate

NOW = 1_800_000_000.0


def record(name: str = "app", key: str = "secret", **more: object) -> KeyRecord:
    return KeyRecord(name, hashed(key), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "target", "allowed"),
    [
        ("a.example", ("a.example", 80, "/x"), True),
        ("A.Example", ("a.example", 443, "/"), True),
        ("a.example", ("b.a.example", 80, "/"), False),
        ("*.example", ("a.example", 80, "/"), True),
        ("*.example", ("x.a.example", 80, "/"), True),
        ("*.example", ("example", 80, "/"), False),
        ("*.example", ("evilexample", 80, "/"), False),
        ("a.example:443", ("a.example", 443, "/"), True),
        ("a.example:443", ("a.example", 80, "/"), False),
        ("a.example/api/*", ("a.example", 80, "/api/x?y"), True),
        ("a.example/api/*", ("a.example", 80, "/apix"), False),
        ("a.example/api/*", ("a.example", 80, "/api/..%2Fadmin"), False),
        ("a.example/api/*", ("a.example", 80, "/api/%2e%2e/admin"), False),
        ("a.example/api/*", ("a.example", 80, "/api/%252e%252e/admin"), False),
        ("a.example/api/*", ("a.example", 80, "/api/..;/admin"), False),
        ("a.example/api/*", ("a.example", 80, "/api/a..;b?c=/..;"), True),
        ("a.example/API", ("a.example", 80, "/API?x=/"), True),
        ("a.example/API", ("a.example", 80, "/api"), False),
        ("[2001:db8::1]:80", ("2001:db8::1", 80, "/"), True),
    ],
)
def test_targets(pattern: str, target: tuple[str, int, str], allowed: bool) -> None:
    assert TargetPattern.read(pattern).matches(*target) is allowed
    assert record(targets=[pattern]).allows_target(*target) is allowed
    assert record().allows_target(*target)


@pytest.mark.parametrize("text", ["", "*", "a.*", "http://a.example", "a.example/*/x", "a b"])
def test_no_targets(text: str) -> None:
    with pytest.raises(ValueError, match="is not a target"):
        TargetPattern.read(text)


def test_the_file_has_hashes_only() -> None:
    ring = KeyRing([record(origins=["https://a.example:443"], targets=["b.example"], expires=NOW)])
    text = ring.dump()
    assert "secret" not in text
    again = KeyRing.read(text)
    assert again.records == ring.records
    assert again.dump() == text
    assert again.records[0].origins == ("https://a.example",)


def test_find() -> None:
    ring = KeyRing([record(expires=NOW), record("other", "second")])
    found = ring.find("secret", NOW - 1)
    assert found is not None
    assert found.name == "app"
    assert ring.find("secret", NOW) is None
    assert ring.find("second", NOW * 2) is not None
    for key in ("", "third", "Secret", hashed("secret")):
        assert ring.find(key, 0.0) is None


def test_origins_of_a_key() -> None:
    one = record(origins=["https://a.example"])
    assert one.allows_origin("https://a.example")
    assert one.allows_origin(None)
    assert not one.allows_origin("https://a.example.evil")
    assert record().allows_origin("https://any.example")


def test_editing() -> None:
    ring = KeyRing().added(record()).added(record("b", "second"))
    assert [one.name for one in ring.revoked("app").records] == ["b"]
    with pytest.raises(ValueError, match="already"):
        ring.added(record(key="third"))
    with pytest.raises(ValueError, match="same"):
        ring.added(record("c"))
    with pytest.raises(KeyError):
        ring.revoked("nobody")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", "keys"),
        ('{"keys": 1}', "keys"),
        ('{"keys": [1]}', "object"),
        ('{"keys": [{"name": "a"}]}', "needs name"),
        ('{"keys": [{"name": "a", "sha256": "x"}]}', "64 hexadecimal"),
        ('{"keys": [{"name": "a b", "sha256": "%s"}]}', "not the name"),
        ('{"keys": [{"name": "a", "sha256": "%s", "key": "x"}]}', "object with"),
        ('{"keys": [{"name": "a", "sha256": "%s", "origins": "x"}]}', "list of strings"),
        ('{"keys": [{"name": "a", "sha256": "%s", "origins": ["x"]}]}', "not an origin"),
        ('{"keys": [{"name": "a", "sha256": "%s", "targets": ["*"]}]}', "not a target"),
        ('{"keys": [{"name": "a", "sha256": "%s", "expires": "x"}]}', "since the epoch"),
        ('{"keys": [{"name": "a", "sha256": "%s", "expires": NaN}]}', "1970 to 9999"),
        ('{"keys": [{"name": "a", "sha256": "%s", "expires": 1e300}]}', "1970 to 9999"),
        ('{"keys": [{"name": "a", "sha256": "%s", "targets": null}]}', "list of strings"),
        ('{"keys": [{"name": "a", "sha256": "%s", "origins": ""}]}', "list of strings"),
        ("[" * 100_000, "too deeply"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KeyRing.read(text.replace("%s", "0" * 64))


@given(st.text(max_size=30), st.text(max_size=30))
def test_only_the_same_key_is_found(one: str, other: str) -> None:
    try:
        ring = KeyRing([record(key=one)])
        found = ring.find(other, 0.0)
    except UnicodeEncodeError:
        return
    assert (found is not None) is (one == other and one != "")


def test_methods_and_referrers() -> None:
    one = record(methods=["GET"], referrers=["app.example/docs/*", "*.b.example:444"])
    assert one.allows_method("GET")
    assert not one.allows_method("get")
    assert not one.allows_method("POST")
    for referrer, allowed in (
        ("https://app.example/docs/x?y", True),
        ("https://app.example/docs", False),
        ("https://app.example.evil/docs/x", False),
        ("https://app.example@evil.example/docs/x", False),
        ("https://x.b.example:444/", True),
        ("https://x.b.example/", False),
        ("ftp://app.example/docs/x", False),
        ("https://[", False),
        ("", False),
        (None, False),
    ):
        assert one.allows_referrer(referrer) is allowed, referrer
    assert record().allows_referrer(None)
    assert record().allows_method("POST")


def test_a_quota_in_the_file() -> None:
    quota = Quota(Rate(5, 3600, 5), Rate(1 << 30, 86400, 1 << 30), 4)
    ring = KeyRing([record(quota=quota, methods=["GET"], referrers=["a.example"])])
    assert KeyRing.read(ring.dump()).records == ring.records


def test_targets_that_are_listed() -> None:
    assert record(targets=["a.example"]).lists_target("a.example", 80, "/")
    assert not record(targets=["a.example"]).lists_target("b.example", 80, "/")
    assert not record().lists_target("a.example", 80, "/")


def test_a_key_is_known_by_its_hash() -> None:
    ring = KeyRing([record(targets=["a.example"], expires=NOW)])
    assert ring.has(record(), NOW - 1)
    assert not ring.has(record(), NOW)
    assert not ring.has(record(key="other"), NOW - 1)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"requests": 5}, "amount and seconds"),
        ({"requests": {"amount": 5}}, "amount and seconds"),
        ({"bytes": {"amount": 0, "seconds": 60}}, "at least 1"),
        ({"bytes": {"amount": float("nan"), "seconds": 60}}, "at least 1"),
        ({"requests": {"amount": 5, "seconds": 1e12}}, "at most in a year"),
        ({"requests": {"amount": 10**400, "seconds": 60}}, "at most in a year"),
        ({"concurrent": -1}, "whole number"),
        ({"concurrent": True}, "whole number"),
        ({"methods": ["get"]}, "not a method"),
        ({"methods": None}, "list of strings"),
        ({"referrers": ["https://a.example"]}, "not a target"),
    ],
)
def test_rules_that_are_wrong_are_errors(more: dict[str, Any], words: str) -> None:
    entry = {"name": "app", "sha256": hashed("secret"), **more}
    with pytest.raises(ValueError, match=words):
        KeyRing.read(json.dumps({"keys": [entry]}))


def test_a_key_is_stored_as_its_sha256() -> None:
    """FIPS 180-2, appendix B.1."""
    found = hashed("abc")
    assert found == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
