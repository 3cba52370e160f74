"""The words of agents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.health.agent import Advice, parse_advice


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("up", Advice(well=True)),
        ("UP", Advice(well=True)),
        ("down#disk full", Advice(well=False, note="disk full")),
        ("fail", Advice(well=False)),
        ("failed # a # b", Advice(well=False, note="a # b")),
        ("stopped", Advice(well=False)),
        ("ready", Advice(wish="ready")),
        ("drain", Advice(wish="drain")),
        ("maint,50%", Advice(wish="maint", percent=50)),
        ("75%", Advice(percent=75)),
        ("0%", Advice(percent=0)),
        ("9999%", Advice(percent=1000)),
        ("maxconn:30", Advice(maxconn=30)),
        ("up ready 100% maxconn:0", Advice("ready", True, 100, 0)),
        ("  ready\t50%  later ", Advice(wish="ready", percent=50)),
        ("drain#\x1b[31m", Advice(wish="drain", note="?[31m")),
    ],
)
def test_lines(line: str, advice: Advice) -> None:
    assert parse_advice(line) == advice


@pytest.mark.parametrize(
    "line",
    ["", " ", "#up", "HTTP/1.1 400 Bad Request", "-5%", "%", "maxconn:", "maxconn:-1", "99999%"],
)
def test_nonsense(line: str) -> None:
    with pytest.raises(ValueError, match="means nothing"):
        parse_advice(line)


@given(st.text())
def test_any_text(line: str) -> None:
    try:
        advice = parse_advice(line)
    except ValueError:
        return
    assert advice != Advice(note=advice.note)
    assert advice.percent is None or 0 <= advice.percent <= 1000
