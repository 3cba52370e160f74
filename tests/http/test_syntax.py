"""Tokens, hosts and the memory behind them."""

from __future__ import annotations

import pytest

from lbproxy.http import syntax


@pytest.mark.parametrize("text", [b"a", b"A-b_9", b"!#$%&'*+-.^_`|~"])
def test_tokens(text: bytes) -> None:
    assert syntax.is_token(text)


@pytest.mark.parametrize("text", [b"", b"a b", b"a\n", b"(", b'"', b"/", b"a,b", b"\xe9", b"\x7f"])
def test_no_tokens(text: bytes) -> None:
    assert not syntax.is_token(text)


def test_names_are_remembered_within_bounds() -> None:
    assert syntax.checked_name(b"CONTENT-length") == b"content-length"
    assert syntax.checked_name(b"x-new-name") == b""
    assert syntax.FIELD_NAMES[b"x-new-name"] == b""
    for number in range(5000):
        syntax.checked_name(b"x-%d" % number)
    assert len(syntax.FIELD_NAMES) <= 2048
    assert syntax.FIELD_NAMES[b"Host"] == b"host"
    syntax.checked_name(b"y" * 100)
    assert b"y" * 100 not in syntax.FIELD_NAMES
    with pytest.raises(ValueError, match="token"):
        syntax.checked_name(b"x y")


def test_hosts_are_remembered_within_bounds() -> None:
    for number in range(5000):
        assert syntax.normal_host(b"H%d:80" % number) == b"h%d:80" % number
    assert len(syntax._hosts) <= 2048
    assert not syntax.is_host(b"a@b")
    assert not syntax.is_host(b"a@b")
    assert syntax.is_host(b"a")


def test_lists() -> None:
    assert syntax.list_members(b" A,,b ,\tc,") == [b"a", b"b", b"c"]
    assert syntax.list_members(b"") == []
