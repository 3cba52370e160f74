"""Every status that lbproxy itself can send has a reason phrase in HTTP/1."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lbproxy
from lbproxy.errors import MEANING
from lbproxy.http.reasons import reason_phrase

SENT = re.compile(r"\b(?:APIError|Reply|ResponseHead|Refusal)\(\s*(?:status=)?([1-5]\d\d)\b")


def statuses() -> set[int]:
    """Those of error pages, and those written in the sources."""
    found = {one.status for one in MEANING.values() if one.status}
    for path in Path(lbproxy.__file__).parent.rglob("*.py"):
        found |= {int(number) for number in SENT.findall(path.read_text(encoding="utf-8"))}
    return found


@pytest.mark.parametrize("status", sorted(statuses()))
def test_it_has_a_reason(status: int) -> None:
    assert reason_phrase(status)


def test_the_sources_are_searched() -> None:
    assert {200, 403, 408, 421, 502} <= statuses()
