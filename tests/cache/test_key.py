"""Keys of stored responses: what they have, what they leave out, and what cannot run together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.key import key_of, normal_prefix, public_host, sent_target, url_of
from lbproxy.cache.policy import Cookies, KeyPart, Policy, Query
from lbproxy.http.message import RequestHead, header_pairs


def head(target: str = "/a", host: str = "h", **headers: str) -> RequestHead:
    pairs = header_pairs([(name.replace("_", "-"), value) for name, value in headers.items()])
    return RequestHead(b"GET", target.encode(), pairs, host=host.encode())


def policy(*names: str, **facts: Any) -> Policy:
    parts = [KeyPart(*name.split(":")) for name in names]
    return Policy(key=tuple(parts), **facts)


def key(request: RequestHead, rules: Policy) -> tuple[bytes, ...]:
    return key_of(request, rules, b"http", b"app")


@pytest.mark.parametrize(
    ("names", "one", "two", "same"),
    [
        ((), head("/a"), head("/a", host="other"), False),
        (("path",), head("/a"), head("/a", host="other"), True),
        (("path",), head("/a?x=1"), head("/a?x=2"), True),
        (("path", "query"), head("/a"), head("/a?"), False),
        (("path", "query"), head("/a?x"), head("/a?x="), False),
        (("path", "query:page"), head("/a?x=1&page=2"), head("/a?page=2&x=2"), True),
        (("path", "query:page"), head("/a?page=2"), head("/a?page=3"), False),
        (("path", "query:page"), head("/a"), head("/a?page"), False),
        (("path", "header:x"), head(), head(X=""), False),
        (("path", "header:x"), head(X="1"), head(X="2"), False),
        (("hostname", "path"), head(host="h:1"), head(host="h:2"), True),
        (("uri",), head("/a?b"), head("/a?c"), False),
    ],
)
def test_variables_of_the_key(
    names: tuple[str, ...], one: RequestHead, two: RequestHead, same: bool
) -> None:
    rules = policy(*names)
    assert (key(one, rules) == key(two, rules)) is same


def test_a_variable_is_not_taken_for_another_one() -> None:
    one, two = policy("path", "header:x"), policy("path", "header:y")
    assert key(head(X="1"), one) != key(head(Y="1"), two)


def test_what_the_key_does_not_name_is_not_sent() -> None:
    request = head("/a?x=1&page=2")
    assert sent_target(request, policy("path")) == b"/a"
    assert sent_target(request, policy("path", "query:page")) == b"/a?page=2"
    assert sent_target(request, policy("path", "query")) == b"/a?x=1&page=2"
    assert url_of(request, policy("path", "query:page"), b"http") == b"http://h/a?page=2"


def test_what_a_filter_has_changed_is_in_the_key_too() -> None:
    changed = head("/new")
    changed.checked = b"/old"
    for rules in (Policy(), policy("path")):
        assert key(changed, rules) != key(head("/old"), rules)
        assert key(changed, rules) != key(head("/new"), rules)


names = st.sampled_from(["a", "b", "c"])
pairs = st.lists(st.tuples(names, st.sampled_from(["", "1", "2"])), max_size=5)


def text(found: list[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in found)


@given(pairs, pairs)
def test_equal_keys_mean_equal_requests(one: list[Any], two: list[Any]) -> None:
    """Two requests with one key are sent alike, so their responses cannot differ."""
    rules = Policy(query=Query(sort=True, ignore=("a",)), cookies=Cookies(key=("b",)))
    first, second = head(f"/x?{text(one)}"), head(f"/x?{text(two)}")
    alike = sent_target(first, rules) == sent_target(second, rules)
    assert (key(first, rules) == key(second, rules)) is alike


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("h:80", "h"),
        ("h:080", "h"),
        ("h:", "h"),
        ("h:000", "h:0"),
        ("h.", "h"),
        ("h.:0080", "h"),
        ("h:443", "h:443"),
        ("h.:08443", "h:8443"),
        ("h-", "h-"),
        ("[::1]", "[::1]"),
        ("[0:0::0:1]:80", "[::1]"),
        ("[2001:db8:0::00a]:0443", "[2001:db8::a]:443"),
        ("[::ffff:102:304]", "[::ffff:1.2.3.4]"),
        ("[0::ffff:1.2.3.4]:8080", "[::ffff:1.2.3.4]:8080"),
        ("[::ffff:0:0]", "[::ffff:0.0.0.0]"),
        ("[::1.2.3.4]", "[::102:304]"),
        ("[64:ff9b::1.2.3.4]", "[64:ff9b::102:304]"),
    ],
)
def test_a_public_url_has_one_form_of_a_host(host: str, public: str) -> None:
    assert public_host(b"http", host.encode()).decode() == public
    assert public_host(b"http", public.encode()).decode() == public
    assert normal_prefix(b"HTTP://%b/a" % host.upper().encode()) == b"http://%b/a" % public.encode()
