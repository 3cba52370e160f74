"""docs/reference.rst is what the program says of itself, and the table of errors too."""

from __future__ import annotations

import re

from lbproxy.errors import MEANING
from lbproxy.registry import reference

from .pages import DOCS


def test_reference_is_current() -> None:
    written = (DOCS / "reference.rst").read_text(encoding="utf-8").rstrip()
    renew = "renew it: lbproxy config reference --rst > docs/reference.rst"
    assert written == reference("rst").rstrip(), renew


def test_table_of_errors_is_complete() -> None:
    page = (DOCS / "architecture.rst").read_text(encoding="utf-8")
    for kind, meaning in MEANING.items():
        row = re.search(rf"^``{kind.value}`` .*$", page, re.MULTILINE)
        assert row is not None, kind
        words = row[0].split()[1:]
        status = [str(meaning.status)] if meaning.status else []
        retry = ["yes"] if meaning.retry else []
        assert words == [*status, meaning.side, meaning.outcome.value, *retry], kind
