"""No-Vary-Search: what a field means, and which queries it calls the same."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.key import Key
from lbproxy.cache.policy import KeyPart, Policy
from lbproxy.cache.search import (
    LONGEST,
    MOST_PARAMETERS,
    MOST_PATHS,
    SearchRule,
    SearchRules,
    applies,
    reduced,
    same_search,
    search_rule,
)
from lbproxy.http.message import ResponseHead


def rule(*values: bytes) -> SearchRule | None:
    return search_rule(ResponseHead(200, [(b"No-Vary-Search", value) for value in values]))


def names(*texts: bytes) -> frozenset[bytes]:
    return frozenset(texts)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"params", SearchRule(names=names(), others=True)),
        (b"params=?1", SearchRule(names=names(), others=True)),
        (b"key-order", SearchRule(ordered=False)),
        (b"key-order=?1", SearchRule(ordered=False)),
        (b'params=("a" "b c")', SearchRule(names=names(b"a", b"b c"))),
        (b'params=("a+b" "%C3%A9")', SearchRule(names=names(b"a b", "é".encode()))),
        (b'params=("a=b")', SearchRule(names=names(b"a=b"))),
        (b'params, except=("id")', SearchRule(names=names(b"id"), others=True)),
        (b'key-order, params=("a")', SearchRule(ordered=False, names=names(b"a"))),
        (b'params=("a"), unknown=3', SearchRule(names=names(b"a"))),
    ],
)
def test_fields(value: bytes, wanted: SearchRule) -> None:
    assert rule(value) == wanted


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"params=?0",
        b"key-order=?0",
        b"params=()",
        b"params=(a)",  # a token
        b'params=("a" 1)',
        b'params="a"',
        b"params=1",
        b"key-order=1",
        b'except=("a")',
        b'params=("a"), except=("b")',
        b'params=?0, except=("b")',
        b'params, except="b"',
        b"params, except=(b)",
        b'params=("a"',
        b'params=("' + b"a" * LONGEST + b'")',
    ],
)
def test_fields_without_effect(value: bytes) -> None:
    assert rule(value) is None


def test_several_lines_are_one_field() -> None:
    assert rule(b"params", b'except=("id")') == SearchRule(names=names(b"id"), others=True)
    assert rule() is None


WORDS = st.sampled_from([b"a", b"b", b"%61", b"c+d", b"c%20d", b"", b"id"])
QUERIES = st.lists(st.one_of(st.tuples(WORDS, WORDS).map(b"=".join), WORDS), max_size=6).map(
    b"&".join
)
RULES = st.builds(
    SearchRule, st.booleans(), st.frozensets(st.sampled_from([b"a", b"b", b"c d", b"id", b""])),
    st.booleans(),
)  # fmt: skip


@given(QUERIES, QUERIES, RULES)
def test_two_queries_are_the_same_as_the_specification_says(
    first: bytes, second: bytes, chosen: SearchRule
) -> None:
    """Against the algorithm of the specification, on the parser of the standard library."""

    def kept(query: bytes) -> list[tuple[str, str]]:
        pairs = parse_qsl(query.decode(), keep_blank_values=True)
        left = [one for one in pairs if (one[0].encode() in chosen.names) is chosen.others]
        return left if chosen.ordered else sorted(left, key=lambda one: one[0])

    urls = (b"http://h/p?" + first, b"http://h/p?" + second)
    assert same_search(chosen, *urls) is (kept(first) == kept(second))


@given(st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=4),
       st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=4))  # fmt: skip
def test_no_value_runs_into_the_next_one(
    first: list[tuple[bytes, bytes]], second: list[tuple[bytes, bytes]]
) -> None:
    chosen = SearchRule(names=names(b"gone"))

    def key(pairs: list[tuple[bytes, bytes]]) -> Key | None:
        quoted = [
            b"=".join(b"".join(b"%%%02X" % byte for byte in text) for text in pair)
            for pair in pairs
        ]
        return reduced((b"app", b"http", b"h", b"/p?" + b"&".join(quoted)), chosen)

    assert (key(first) == key(second)) is (first == second)


def test_paths_and_other_parts_of_a_key_stay_apart() -> None:
    chosen = SearchRule(names=names(b"a"))
    keys = [
        (b"app", b"http", b"h", b"/p?a=1"),
        (b"app", b"http", b"h", b"/q?a=1"),
        (b"app", b"https", b"h", b"/p?a=1"),
        (b"app", b"http", b"i", b"/p?a=1"),
        (b"api", b"http", b"h", b"/p?a=1"),
        (b"app", b"http", b"h", b"/p?a=1", b"lang=de"),
    ]
    assert len({reduced(key, chosen) for key in keys} | set(keys)) == 2 * len(keys)
    assert reduced(keys[0], chosen) == reduced((b"app", b"http", b"h", b"/p"), chosen)


def test_a_long_query_is_compared_as_it_is() -> None:
    query = b"&".join(b"b=%d" % number for number in range(MOST_PARAMETERS + 1))
    chosen = SearchRule(names=names(b"a"))
    assert reduced((b"app", b"http", b"h", b"/p?" + query), chosen) is None
    assert not same_search(chosen, b"http://h/p?" + query, b"http://h/p?" + query)


def test_keys_that_the_field_does_not_change() -> None:
    key = (b"app", b"http", b"h", b"/p?a=1")
    assert applies(key, Policy())
    assert not applies(key, Policy(search=False))
    assert not applies(key, Policy(key=(KeyPart("uri"),)))
    assert not applies((*key, b"sent", b"/other"), Policy())
    assert not applies((*key, b"post", b"-"), Policy())


def test_rules_are_bounded_by_path() -> None:
    rules = SearchRules()
    key = (b"app", b"http", b"h", b"/p?a=1&b=2&c=3")
    chosen = [SearchRule(names=names(name)) for name in (b"a", b"b", b"c")]
    for one in chosen:
        rules.learn(key, one)
    assert [one for _, one in rules.keys(key)] == [chosen[2], chosen[1]]
    rules.learn(key, chosen[1])
    assert [one for _, one in rules.keys((*key[:3], b"/p"))] == [chosen[1], chosen[2]]
    assert not rules.keys((*key[:3], b"/q"))
    for number in range(MOST_PATHS):
        rules.learn((b"app", b"http", b"h", b"/%d" % number), chosen[0])
    assert len(rules) == MOST_PATHS
    assert not rules.keys(key)
