"""Lines fit 100 columns; what is public has a docstring, which names its subject."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sources import SOURCES, module_name, modules

from .pages import ROOT

pytestmark = SOURCES

WIDTH = 100
TEXTS = {".py", ".rst", ".md", ".toml", ".cfg", ".ini"}
FOLDERS = (".", "docs", "lbproxy", "tests", "tools", "twisted")
NOT_OURS = ("docs/_build/", "tests/count/budgets.ini")  # made by tools
PRAGMA = re.compile(r"  # (type: ignore|noqa).*$")
LITERAL = re.compile(r"^ {3,}\S")
RELATIVE = re.compile(
    r"^(?:(?:PURE|DATA|CONTROL)\. )?"
    r"(It|Its|They|Their|Them|Who|Whoever|Whose|What|Whatever|Somebody|Nobody|Something|Those)\b"
)


def texts() -> Iterator[Path]:
    """The text files of the repository."""
    for folder in FOLDERS:
        found = (ROOT / folder).iterdir() if folder == "." else (ROOT / folder).rglob("*")
        for path in found:
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in TEXTS and path.is_file() and not name.startswith(NOT_OURS):
                yield path


def may_be_long(path: Path, line: str) -> bool:
    """Whether a line cannot be broken: a value of a configuration, output of a command, a URL."""
    if path.suffix == ".ini":
        return not line.startswith(("#", ";"))
    if path.suffix == ".rst":
        return LITERAL.match(line) is not None and "``" not in line
    return not line.strip(" #\"'`<>_,").count(" ")


def too_long(path: Path) -> list[int]:
    """The numbers of the lines that are too long."""
    return [
        number
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(PRAGMA.sub("", line)) > WIDTH and not may_be_long(path, line)
    ]


def test_lines_fit() -> None:
    wrong = [f"{path.relative_to(ROOT)}:{line}" for path in texts() for line in too_long(path)]
    assert wrong == [], f"more than {WIDTH} columns"


@pytest.mark.parametrize(
    ("name", "line", "wrong"),
    [
        ("a.py", "x = 1  # " + "y " * 50, True),
        ("a.py", "x" * 80 + " = y  # type: ignore[attr-defined, union-attr, misc]", False),
        ("a.py", "# https://example.org/" + "x" * 100, False),
        ("a.rst", "word " * 21, True),
        ("a.rst", "   $ lbproxy " + "word " * 20, False),
        ("a.ini", "# " + "word " * 21, True),
        ("a.ini", "check = " + "word " * 21, False),
    ],
)
def test_what_is_too_long(tmp_path: Path, name: str, line: str, wrong: bool) -> None:
    path = tmp_path / name
    path.write_text(f"\n{line}\n")
    assert too_long(path) == ([2] if wrong else [])


# -- docstrings ---------------------------------------------------------------------------------

MODULES = sorted((ROOT / "lbproxy").rglob("*.py"))
Named = tuple[str, "ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef"]


def definitions(node: ast.AST, prefix: str = "") -> Iterator[Named]:
    """Classes and functions by qualified name, those of functions left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.If | ast.Try):
            yield from definitions(child, prefix)


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


def needs_none(node: ast.AST, classes: dict[str, ast.ClassDef], name: str) -> bool:
    """Whether another docstring describes it: an attribute of a Protocol, a setter, an overload."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    words = {ast.unparse(one).rpartition(".")[2] for one in node.decorator_list}
    if words & {"setter", "overload"}:
        return True
    owner = classes.get(name.rpartition(".")[0])
    bases = {ast.unparse(base).partition("[")[0] for base in owner.bases} if owner else set()
    inherits = bool(bases & {"Protocol"}) or any(
        base.endswith(("Traffic", "Context")) for base in bases
    )
    return "property" in words and owner is not None and inherits


def docstrings(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Name, docstring ("" if there is none) and whether it needs one."""
    tree = modules()[module_name(path)]
    found = list(definitions(tree))
    classes = {name: node for name, node in found if isinstance(node, ast.ClassDef)}
    yield "", ast.get_docstring(tree) or "", True
    for name, node in found:
        needs = is_public(name) and not needs_none(node, classes, name)
        yield name, ast.get_docstring(node) or "", needs


def label(path: Path, name: str) -> str:
    return f"{path.relative_to(ROOT)} {name}".strip()


def test_what_is_public_has_a_docstring() -> None:
    wrong = [
        label(path, name)
        for path in MODULES
        if path.name != "__main__.py"
        for name, text, needs in docstrings(path)
        if needs and not text
    ]
    assert wrong == []


def test_docstrings_name_their_subject() -> None:
    """Not "It is closed.", "What a check needs." and the like."""
    wrong = [
        f"{label(path, name)}: {text.splitlines()[0]}"
        for path in MODULES
        for name, text, _ in docstrings(path)
        if RELATIVE.match(text)
    ]
    assert wrong == []
