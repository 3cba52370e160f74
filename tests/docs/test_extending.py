"""docs/extending.rst: the files it names are where it says, and tests run its examples."""

from __future__ import annotations

import re

import pytest

from .pages import DOCS, ROOT

PAGE = (DOCS / "extending.rst").read_text(encoding="utf-8")
CHAPTERS = PAGE.split("\nA balancer\n", 1)[1]
TITLES = ["A balancer", *re.findall(r"^(A \w.*)\n-+$", CHAPTERS, re.MULTILINE)]


def chapter(title: str) -> str:
    """The text of one chapter."""
    return re.split(r"\n[A-Z].*\n-+\n", PAGE.split(f"\n{title}\n")[1].partition("\n\n")[2])[0]


@pytest.mark.parametrize("title", TITLES)
def test_a_chapter_has_its_files_and_an_example(title: str) -> None:
    text = chapter(title)
    assert re.search(r"^1\.  ", text, re.MULTILINE) and re.search(r"^3\.  ", text, re.MULTILINE)
    assert ".. literalinclude:: examples/extending/" in text


def test_files_exist() -> None:
    named = re.findall(r"``((?:lbproxy|tests|docs)/[\w./]+\.(?:py|rst))``", PAGE)
    assert len(named) > 30
    for name in named:
        path = ROOT / re.sub(r"(?:/NAME)?/[\w.]*NAME[\w.]*$|/NAME/.*", "", name)
        assert path.exists(), name


@pytest.mark.parametrize("name", re.findall(r"examples/extending/(\w+\.py)", PAGE))
def test_a_test_runs_the_example(name: str) -> None:
    users = (ROOT / "tests" / "extending").glob("*.py")
    assert any(name in path.read_text(encoding="utf-8") for path in users)
