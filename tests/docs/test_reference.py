"""docs/reference.rst is what the program says of itself, and the table of errors too."""

from __future__ import annotations

import re

from lbproxy.errors import MEANING
from lbproxy.registry import reference

from .pages import DOCS

RENEW = "lbproxy config reference --rst > docs/reference.rst"


def test_reference_is_current() -> None:
    written = (DOCS / "reference.rst").read_text(encoding="utf-8").rstrip()
    assert written == reference("rst").rstrip(), f"renew it: {RENEW}"


def test_the_page_of_extensions_says_how_it_is_made() -> None:
    assert f"``{RENEW}``" in (DOCS / "extending.rst").read_text(encoding="utf-8")


def test_table_of_errors_is_complete() -> None:
    page = (DOCS / "architecture.rst").read_text(encoding="utf-8")
    for kind, meaning in MEANING.items():
        row = re.search(rf"^``{kind.value}`` .*$", page, re.MULTILINE)
        assert row is not None, kind
        words = row[0].split()[1:]
        status = [str(meaning.status)] if meaning.status else []
        retry = ["yes"] if meaning.retry else []
        assert words == [*status, meaning.side, meaning.outcome.value, *retry], kind
