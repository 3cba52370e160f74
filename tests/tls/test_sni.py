"""Exact name, then wildcard of one label, then the default."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.tls.sni import NameTable

TABLE = NameTable(
    [
        (["a.example", "*.a.example"], "a"),
        (["*.example"], "wild"),
        (["a.example", "B.Example."], "b"),
    ],
    "default",
)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("a.example", "a"),
        ("A.EXAMPLE", "a"),
        ("a.example.", "a"),
        ("x.a.example", "a"),
        ("y.x.a.example", "default"),
        ("b.example", "b"),
        ("c.example", "wild"),
        ("example", "default"),
        (".example", "default"),
        ("*.example", "wild"),
        ("", "default"),
        ("other.org", "default"),
    ],
)
def test_choice(name: str, chosen: str) -> None:
    assert TABLE.choose(name) == chosen


@given(st.text())
def test_any_text_chooses_something(name: str) -> None:
    assert TABLE.choose(name) in {"a", "b", "wild", "default"}
