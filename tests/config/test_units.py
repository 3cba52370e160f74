"""Every kind of value: both ways, and what it refuses."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.config.errors import Unfit
from lbproxy.config.model import Address
from lbproxy.config.units import KINDS, describe, dump, parse
from lbproxy.config.words import comma_items, quote, split

GOOD: list[tuple[str, str, Any]] = [
    ("int", "12", 12),
    ("int", "-3", -3),
    ("float", "0.5", 0.5),
    ("float", "1e3", 1000.0),
    ("octal", "660", 0o660),
    ("octal", "0o600", 0o600),
    ("bool", "Yes", True),
    ("bool", "off", False),
    ("duration", "30s", 30.0),
    ("duration", "500ms", 0.5),
    ("duration", "1m30s", 90.0),
    ("duration", "1.5h", 5400.0),
    ("duration", "1d", 86400.0),
    ("duration", "0", 0.0),
    ("size", "64k", 65536),
    ("size", "10M", 10 << 20),
    ("size", "1g", 1 << 30),
    ("size", "17", 17),
    ("size_or_none", "none", None),
    ("size_or_none", "1k", 1024),
    ("percent", "20%", 0.2),
    ("percent", "0.5%", 0.005),
    ("percent", "0", 0.0),
    ("times", "3x", 3.0),
    ("times", "1.5x", 1.5),
    ("retry", "junk", "junk"),
    ("retry", "503", "503"),
    ("method", "RPC_IN_DATA", "RPC_IN_DATA"),
    ("method", "ban", "ban"),
    ("rate", "10/s", 10.0),
    ("rate", "60/m", 1.0),
    ("name", "db-1.a_b", "db-1.a_b"),
    ("path", "certs/", "/base/certs"),
    ("path", "/abs/x", "/abs/x"),
    ("path", "", ""),
    ("address", "10.0.0.1:80", Address("tcp", "10.0.0.1", 80)),
    ("address", "[2001:DB8::1]:80", Address("tcp", "2001:db8::1", 80)),
    ("address", "db.internal:5432", Address("tcp", "db.internal", 5432)),
    ("address", "unix:run/x", Address("unix", path="/base/run/x")),
    ("network", "10.0.0.0/8", ip_network("10.0.0.0/8")),
    ("network", "::1", ip_network("::1/128")),
    ("list:network", "10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
    ("list:string", 'a,b  "c d", ""', ("a", "b", "c d", "")),
    ("list:int", "", ()),
    ("pattern", "a+", "a+"),
]


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_parses(kind: str, text: str, value: Any) -> None:
    assert parse(kind, text, {}, "/base") == value
    assert parse(kind, dump(kind, value), {}, "/base") == value


BAD: list[tuple[str, str, str]] = [
    ("int", "1.5", "whole number"),
    ("int", "9" * 50, "whole number"),
    ("int", "\u0661", "whole number"),
    ("float", "nan", "number"),
    ("float", "1e999", "too large"),
    ("octal", "888", "octal"),
    ("bool", "maybe", "neither yes nor no"),
    ("duration", "30", "needs a unit"),
    ("duration", "30x", "not a duration"),
    ("duration", "", "not a duration"),
    ("duration", "-1s", "not a duration"),
    ("size", "1.5k", "not a size"),
    ("size", "-1", "not a size"),
    ("size", "8388608t", "too large"),
    ("size", "9223372036854775808", "too large"),
    ("size", "9" * 41, "not a size"),
    ("percent", "20", "not a share"),
    ("percent", "-1%", "not a share"),
    ("times", "3", "not a multiple"),
    ("retry", "timout", "did you mean 'timeout'?"),
    ("method", "a b", "not a request method"),
    ("method", "Get", "in capitals, GET"),
    ("retry", "200", "must be 400 to 599"),
    ("retry", "600", "must be 400 to 599"),
    ("rate", "10", "not a rate"),
    ("name", "a b", "not a name"),
    ("name", "", "not a name"),
    ("path", "a\0b", "NUL"),
    ("address", "10.0.0.1", "not an address"),
    ("address", "10.0.0.256:80", "not an IP address"),
    ("address", "a:0", "port"),
    ("address", "a:65536", "port"),
    ("address", "::1:80", "brackets"),
    ("address", "a_b!:80", "host name"),
    ("address", "unix:", "path"),
    ("network", "10.0.0.1/8", "did you mean '10.0.0.0/8'"),
    ("network", "ten", "not a network"),
    ("list:network", "10.0.0.0/8 x", "'x'"),
    ("pattern", "(", "regular expression"),
    ("nonsense", "x", "unknown kind"),
]


@pytest.mark.parametrize(("kind", "text", "words"), BAD)
def test_refuses(kind: str, text: str, words: str) -> None:
    with pytest.raises(Unfit) as caught:
        parse(kind, text, {}, "")
    assert words in str(caught.value)


def test_bounds_are_inclusive_and_named() -> None:
    facts = {"min": 0.05, "max": 86400}
    assert parse("duration", "50ms", facts) == 0.05
    assert parse("duration", "1d", facts) == 86400
    with pytest.raises(Unfit, match="between 50ms and 1d"):
        parse("duration", "2d", facts)
    with pytest.raises(Unfit, match="at least 3"):
        parse("int", "2", {"min": 3})


def test_choice_names_the_nearest() -> None:
    with pytest.raises(Unfit, match="allowed: keep, close; did you mean 'close'"):
        parse("choice", "closed", {"choices": ("keep", "close")})


def test_every_kind_is_described() -> None:
    for kind in KINDS:
        assert describe(kind, {"choices": ("a",)})
    assert describe("duration", {"min": 0.05, "max": 60}).endswith("50ms to 1m")


@given(st.floats(0, 1e9, allow_nan=False))
def test_durations_come_back_exactly(value: float) -> None:
    assert parse("duration", dump("duration", value), {}) == value


@given(st.integers(0, 1 << 50))
def test_sizes_come_back_exactly(value: int) -> None:
    assert parse("size", dump("size", value), {}) == value


@given(st.floats(-1e19, 1e19, allow_nan=False))
def test_floats_come_back_exactly(value: float) -> None:
    assert parse("float", dump("float", value), {}) == value


@given(st.lists(st.text(), max_size=5))
def test_words_come_back(words: list[str]) -> None:
    assert [w.text for w in split(" ".join(quote(w) for w in words))] == words
    assert comma_items(dump("list:string", words) if "\0" not in "".join(words) else "") == (
        words if "\0" not in "".join(words) else []
    )


@given(st.sampled_from(sorted(KINDS)), st.text(max_size=30))
def test_any_text_is_a_value_or_unfit(kind: str, text: str) -> None:
    try:
        parse(kind, text, {"choices": ("a", "b")}, "/base")
        parse("list:" + kind, text, {"choices": ("a", "b")}, "/base")
    except Unfit as error:
        assert str(error)


def test_words_keep_columns_and_quotes() -> None:
    words = split("""host  key="a b" '\\x' "q\\"\\n\\d" """)
    assert [(w.text, w.column, w.bare) for w in words] == [
        ("host", 1, "host"),
        ("key=a b", 7, "key="),
        ("\\x", 17, ""),
        ('q"\n\\d', 22, ""),
    ]
    assert words[1].option() == ("key", "a b")
    assert split('"key=x"')[0].option() is None
    with pytest.raises(Unfit, match="column 3 is never closed"):
        split('a "b')


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("500/s", 500.0, "500/s"),
        ("4k/s", 4096.0, "4k/s"),
        ("1m/3s", 1048576 / 3, "1m/3s"),
        ("60k/1m", 1024.0, "1k/s"),
        ("100/500ms", 200.0, "200/s"),
        ("0", 0.0, "0"),
    ],
)
def test_rates_of_bytes(text: str, value: float, shown: str) -> None:
    assert parse("byte_rate", text, {}) == value
    assert dump("byte_rate", value) == shown
    assert parse("byte_rate", shown, {}) == value
