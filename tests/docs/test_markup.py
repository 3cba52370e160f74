"""The pages are valid reStructuredText, and Sphinx builds them without a warning."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from .pages import DOCS, EXAMPLES, ROOT


@pytest.mark.skipif(find_spec("docutils") is None, reason="docutils is not installed")
@pytest.mark.parametrize("name", ["README.rst", "CHANGELOG.rst"])
def test_renders_without_sphinx(name: str) -> None:
    """Package indexes and code hosts know plain docutils only."""
    from docutils.core import publish_string

    text = (ROOT / name).read_text(encoding="utf-8")
    settings = {
        "report_level": 2,
        "halt_level": 2,
        "raw_enabled": False,
        "file_insertion_enabled": False,
    }
    publish_string(text, writer="null", settings_overrides=settings)  # raises SystemMessage
    assert not re.search(r":(doc|ref|class|func|term|mod):`", text)


@pytest.mark.skipif(find_spec("docutils") is None, reason="docutils is not installed")
@pytest.mark.parametrize("page", sorted(DOCS.glob("*.rst")), ids=lambda page: page.name)
def test_a_page_is_well_formed(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, lists, titles and references; also where Sphinx is not installed."""
    from docutils import nodes
    from docutils.core import publish_string
    from docutils.parsers.rst import Directive, directives, roles

    class Block(Directive):
        """What Sphinx adds; what is in it is judged elsewhere."""

        optional_arguments = 1
        final_argument_whitespace = True
        has_content = True
        option_spec = dict.fromkeys(
            ("caption", "hidden", "language", "lines", "maxdepth", "sorted"), directives.unchanged
        )

        def run(self) -> list[nodes.Node]:
            return [nodes.literal_block(text="\n".join(self.content))]

    def role(name: str, raw: str, text: str, *rest: object) -> object:
        return [nodes.literal(raw, text)], []

    for name in ("code-block", "glossary", "literalinclude", "toctree"):
        monkeypatch.setitem(directives._directives, name, Block)
    for name in ("class", "doc", "func", "meth", "mod", "term"):
        monkeypatch.setitem(roles._roles, name, role)
    settings = {"report_level": 2, "halt_level": 2, "raw_enabled": False}
    publish_string(  # raises SystemMessage
        page.read_text(encoding="utf-8"),
        source_path=str(page),
        writer="null",
        settings_overrides=settings,
    )


def test_every_page_is_listed() -> None:
    index = (DOCS / "index.rst").read_text(encoding="utf-8")
    for page in DOCS.glob("*.rst"):
        assert page.stem == "index" or re.search(rf"^   {page.stem}$", index, re.MULTILINE), page
    for page in (DOCS / "api").glob("*.rst"):
        assert re.search(rf"^   api/{page.stem}$", index, re.MULTILINE), page


def test_every_example_is_described() -> None:
    page = (DOCS / "quickstart.rst").read_text(encoding="utf-8")
    for example in EXAMPLES.iterdir():
        assert example.is_dir() or f"``{example.name}``" in page, example.name


def test_files_that_are_named_exist() -> None:
    for page in (ROOT / "README.rst", *DOCS.glob("*.rst")):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"docs/[\w/.-]*\w", text):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
        for name in re.findall(r":doc:`([\w-]+)`", text):
            assert (DOCS / f"{name}.rst").exists(), f"{page.name}: {name}"
