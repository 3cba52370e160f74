"""Each function of libmodsecurity that lbproxy calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lbproxy.proxy.features.waf.modsecurity.bindings import (
    Library,
    MissingLibrary,
    RulesError,
    RuleSet,
    Transaction,
)
from tests.support.modsecurity import library

ENGINE = (
    "SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n"
    "SecResponseBodyMimeType text/html\n"
)


@pytest.fixture
def rules() -> Iterator[RuleSet]:
    """A rule set with the engine switched on."""
    found = library()
    made = found.rule_set()
    made.add(ENGINE)
    yield made
    made.close()
    found.close()


def begun(rules: RuleSet, target: bytes = b"/a?q=1") -> Transaction:
    """A transaction up to its request line."""
    made = rules.transaction("id-1")
    made.connection(("192.0.2.1", 1234), ("192.0.2.2", 80))
    made.request_line(b"GET", target, "1.1")
    return made


def refusing(variable: str, operator: str, phase: int, more: str = "status:418") -> str:
    """A rule that refuses."""
    return f'SecRule {variable} "{operator}" "id:1,phase:{phase},deny,nolog,{more}"'


def test_a_missing_library_names_the_package() -> None:
    with pytest.raises(MissingLibrary, match="install the package libmodsecurity3"):
        Library("libmodsecurity.so.nonsense")


def test_the_library_has_a_version() -> None:
    found = library()
    assert found.version.startswith("ModSecurity v3")
    found.close()
    found.close()  # harmless


def test_rules_are_counted_and_mistakes_reported(rules: RuleSet, tmp_path: Path) -> None:
    assert rules.add(refusing("ARGS:q", "@eq 1", 1)) == 1
    with pytest.raises(RulesError, match="nonsense"):
        rules.add("SecNonsense nonsense")
    file = tmp_path / "a.conf"
    file.write_text("SecNonsense")
    with pytest.raises(RulesError, match=r"a\.conf"):
        rules.add_file(str(file))
    file.write_text('SecRule ARGS "@rx a" "id:3,phase:1,pass"')
    assert rules.add_file(str(file)) == 1
    with pytest.raises(RulesError):
        rules.add_file(str(tmp_path / "missing.conf"))


@pytest.mark.parametrize(
    ("variable", "operator"),
    [
        ("REMOTE_ADDR", "@streq 192.0.2.1"),
        ("REMOTE_PORT", "@eq 1234"),
        ("SERVER_ADDR", "@streq 192.0.2.2"),
        ("SERVER_PORT", "@eq 80"),
        ("REQUEST_METHOD", "@streq GET"),
        ("REQUEST_PROTOCOL", "@streq HTTP/1.1"),
        ("ARGS:q", "@streq 1"),
        ("REQUEST_HEADERS:X-Test", "@streq a b"),
        ("UNIQUE_ID", "@streq id-1"),
    ],
)
def test_the_head_reaches_the_rules(rules: RuleSet, variable: str, operator: str) -> None:
    rules.add(refusing(variable, operator, 1))
    run = begun(rules)
    assert run.intervention() is None
    run.request_headers([(b"Host", b"h"), (b"X-Test", b"a b")])
    found = run.intervention()
    run.close()
    assert found is not None and (found.status, found.url) == (418, "")


def test_the_body_reaches_the_rules(rules: RuleSet) -> None:
    rules.add(refusing("ARGS:b", "@streq x y", 2))
    run = begun(rules)
    kind = b"application/x-www-form-urlencoded"
    run.request_headers([(b"Content-Type", kind), (b"Content-Length", b"5")])
    assert run.intervention() is None
    run.request_body(b"b=x+y")
    assert run.intervention() is not None
    run.close()
    run.close()  # harmless


def test_the_response_reaches_the_rules(rules: RuleSet) -> None:
    rules.add(refusing("RESPONSE_HEADERS:X-Leak", "@streq yes", 3))
    rules.add('SecRule RESPONSE_BODY "@contains secret" "id:2,phase:4,deny,nolog,status:419"')
    rules.add('SecRule RESPONSE_STATUS "@eq 207" "id:3,phase:3,deny,nolog,status:420"')
    found = []
    for status, headers, body in (
        (200, [(b"X-Leak", b"yes")], b""),
        (200, [(b"Content-Type", b"text/html")], b"a secret"),
        (207, [], b""),
        (200, [(b"Content-Type", b"text/html")], b"nothing"),
    ):
        run = begun(rules)
        run.request_headers([(b"Host", b"h")])
        run.response_headers(status, headers)
        one = run.intervention()
        if one is None:
            run.response_body(body)
            one = run.intervention()
        found.append(one.status if one else 0)
        run.close()
    assert found == [418, 419, 420, 0]


def test_a_redirect_has_its_url(rules: RuleSet) -> None:
    rules.add('SecRule ARGS:q "@eq 1" "id:1,phase:1,nolog,status:302,redirect:https://a.example/"')
    run = begun(rules)
    run.request_headers([])
    found = run.intervention()
    run.close()
    assert found is not None and (found.status, found.url) == (302, "https://a.example/")
