"""Cache-Control and the fields that address one kind of cache."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.control import MOST, Control, parse_control
from lbproxy.cache.targeted import response_control
from tests.cache.conftest import response


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"max-age=60", Control(max_age=60)),
        (b"MAX-AGE=60 , Public", Control(max_age=60, public=True)),
        (b'max-age="60"', Control(max_age=60)),
        (b"max-age=60, max-age=5", Control(max_age=5)),
        (b"max-age=", Control(max_age=0)),
        (b"max-age", Control(max_age=0)),
        (b"max-age=-1", Control(max_age=0)),
        (b"max-age=1.5", Control(max_age=0)),
        (b"max-age= 60", Control(max_age=0)),
        (b"max-age='60'", Control(max_age=0)),
        (b"max-age=60s", Control(max_age=0)),
        (b"max-age=\xb2", Control(max_age=0)),
        (b"max-age=99999999999999999999", Control(max_age=MOST)),
        (b"max-stale", Control(max_stale=MOST)),
        (b"max-stale=x", Control(max_stale=0)),
        (b"min-fresh=5, min-fresh=9", Control(min_fresh=9)),
        (b"no-cache", Control(no_cache=True)),
        (b'no-cache="Set-Cookie, x"', Control(no_cache_fields=frozenset({b"set-cookie", b"x"}))),
        (b"no-cache=x", Control(no_cache_fields=frozenset({b"x"}))),
        (b'no-cache=""', Control(no_cache=True)),
        (b'private="a", private', Control(private=True, private_fields=frozenset({b"a"}))),
        (b'ext="a, no-store"', Control()),
        (b'ext="a\\", no-store"', Control()),
        (b'ext="a, no-store', Control(no_store=True)),
        (b'"no-store', Control(no_store=True)),
        (b"no-storer, xno-store", Control()),
        (b",, ,no-store,", Control(no_store=True)),
        (b"no-store=1", Control(no_store=True)),
        (b'"no-store", max-age=60', Control(no_store=True, max_age=60)),
        (b"'Private', max-age=60", Control(private=True, max_age=60)),
        (b'"no-store, max-age=60"', Control(no_store=True, max_age=0)),
        (b"'max-age=60, no-cache'", Control(no_cache=True, max_age=0)),
        (b'"public", "max-age"=60', Control(max_age=0)),
        (b"private; max-age=60", Control(private=True, max_age=0)),
        (b"max-age=60; Private", Control(private=True, max_age=0)),
        (
            b"no-store no-cache;must-revalidate",
            Control(no_store=True, no_cache=True, must_revalidate=True),
        ),
        (b"public; s-maxage=60", Control(max_age=0)),
        (b'ext="private; no-store"; x', Control()),
        (b'private="a; b, c"', Control(private_fields=frozenset({b"a; b", b"c"}))),
        (b'max-age=60; private="a b"', Control(private=True, max_age=0)),
        (b"", Control()),
    ],
)
def test_directives(text: bytes, expected: Control) -> None:
    assert parse_control([text]) == expected


def test_lines_count_together() -> None:
    both = parse_control([b"max-age=60", b"no-cache, max-age=3"])
    assert both == Control(max_age=3, no_cache=True)


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_nothing_makes_the_parser_fail(lines: list[bytes]) -> None:
    found = parse_control(lines)
    for value in (found.max_age, found.s_maxage, found.min_fresh, found.max_stale):
        assert value is None or 0 <= value <= MOST


@given(st.lists(st.sampled_from([b"no-store", b"max-age=5", b'x="a, b"', b'y="', b'z=\\"', b"k"])))
def test_no_text_hides_no_store(parts: list[bytes]) -> None:
    line = b", ".join([*parts, b"no-store"])
    quoted = b'x="' in line and line.count(b'"') % 2 == 0 and b'y="' in line
    assert parse_control([line]).no_store or quoted


TARGETED = [
    ("max-age=60", Control(field=b"cdn-cache-control", max_age=60)),
    ("no-store, max-age=60", Control(field=b"cdn-cache-control", max_age=60, no_store=True)),
    ("max-age=60.5", Control(field=b"cdn-cache-control", max_age=0)),
    ('max-age="60"', Control(field=b"cdn-cache-control", max_age=0)),
    ("public=?0", Control(field=b"cdn-cache-control")),
    ("private=?0, max-age=1", Control(field=b"cdn-cache-control", max_age=1)),
    ("max-age=10;x=y", Control(field=b"cdn-cache-control", max_age=10)),
]


@pytest.mark.parametrize(("text", "expected"), TARGETED)
def test_a_targeted_field_replaces_cache_control(text: str, expected: Control) -> None:
    head = response(CDN_Cache_Control=text, Cache_Control="max-age=5, private")
    assert response_control(head) == expected


@pytest.mark.parametrize("text", ["", "max-age=60,, no-store", "&", "MAX-AGE=60", 'a="'])
def test_an_invalid_targeted_field_is_ignored(text: str) -> None:
    head = response(CDN_Cache_Control=text, Cache_Control="max-age=5")
    assert response_control(head) == Control(max_age=5)


def test_quotes_that_do_not_end_take_linear_time() -> None:
    line = b'"' + b'\\"' * 200_000  # minutes, if each quote looked for its end
    assert parse_control([line + b", no-store"]).no_store
