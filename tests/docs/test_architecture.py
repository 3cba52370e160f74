"""The table of layers in docs/architecture.rst is what the imports say, and the files it names are
there.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.journeys import gathered, named, text, walk
from tests.support.sources import PACKAGE, SOURCES, modules
from tests.test_layering import CROSS

from .pages import DOCS

pytestmark = SOURCES

PAGE = (DOCS / "architecture.rst").read_text(encoding="utf-8")
BELOW = {"http.message", "guard.addresses"}  # what layer 1 shares
SAME = frozenset({0, 2, 3, 4, 5, 6})  # of these, tests/test_layering.py says who imports whom


def layers() -> dict[str, int]:
    """Top-level module or package -> layer, from the page's table."""
    found: dict[str, int] = {}
    current = -1
    for line in PAGE.splitlines():
        row = re.match(r"(\d| ) {6}(``[\w` ]+)", line)
        if row:
            current = int(row[1]) if row[1].strip() else current
            for name in re.findall(r"``(\w+)``", row[2]):
                found[name] = current
    return found


LAYERS = layers()
FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def imports(tree: ast.Module) -> set[str]:
    """Dotted names that a module imports when it is loaded; TYPE_CHECKING blocks and functions are
    left out.
    """
    names: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                visit(node.body + node.orelse)
            elif isinstance(node, ast.Try):
                visit(node.body)

    visit(tree.body)
    return names


def test_every_package_has_a_layer() -> None:
    there = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    there -= {name for name in there if name.startswith("__")} | {"py.typed", "py"}
    assert there == set(LAYERS)


def goes_down(own: str, name: str) -> bool:
    """Whether modules of ``own``, a package or module below lbproxy, may import ``name``."""
    layer = LAYERS[own]
    if name.split(".", maxsplit=1)[0] == "twisted":
        return layer > 1
    inner = name.removeprefix("lbproxy.")
    other = inner.split(".")[0]
    if inner == name or other == own or inner in BELOW or inner in CROSS.get(own, ()):
        return True
    return LAYERS[other] < layer or (LAYERS[other] == layer and layer in SAME)


def test_imports_go_down() -> None:
    wrong = []
    for module, tree in modules().items():
        own = module.split(".")[0]
        if own and not own.startswith("__"):
            wrong += [f"{module} imports {n}" for n in imports(tree) if not goes_down(own, n)]
    assert wrong == []
    assert goes_down("cli", "lbproxy.net.sender") and not goes_down("net", "lbproxy.cli")
    assert goes_down("net", "twisted.python") and not goes_down("cache", "twisted.python")


def test_files_named_in_the_page_exist() -> None:
    page, _, rest = PAGE.partition("Tests must not depend")  # names of tests: test_compiled.py
    for name in re.findall(r"``([\w/]+\.py)``", page + rest.partition("Rules for these")[2]):
        assert any(path.as_posix().endswith(f"/{name}") for path in FILES), name


def test_classes_named_in_the_page_exist() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    twisted = {"IService", "ITCPTransport", "Deferred"}
    for name in set(re.findall(r"``([A-Z]\w+)``", PAGE)) - twisted - {"Content", "Connection"}:
        if name in ("Expect", "Host", "Via"):
            continue
        assert re.search(rf"class {name}\b", source), name
    for owner, member in re.findall(r"``([A-Z]\w+)\.(\w+)``", PAGE):
        assert re.search(rf"class {owner}\b", source) and re.search(rf"def {member}\b", source)


def journeys() -> dict[str, list[str]]:
    """The modules of each of the ten journeys, as the page names them."""
    chapter = PAGE.split("\nTen journeys\n")[1].split("\nOne thread, one reactor\n")[0]
    found: dict[str, list[str]] = {}
    for title, entry in re.findall(r"^(\S.*)\n((?:    .*\n)+)", chapter, re.MULTILINE):
        found[title] = re.findall(r"``([\w/]+)``", entry)
    return found


def exists(name: str, package: Path) -> bool:
    """Whether ``name`` is a module or package in ``package`` or directly below lbproxy."""
    return any(
        (base / f"{name}.py").is_file() or (base / name / "__init__.py").is_file()
        for base in (package, PACKAGE)
    )


def test_journeys_name_modules_that_exist() -> None:
    assert len(journeys()) == 10
    for title, names in journeys().items():
        package = PACKAGE
        for name in names:
            assert exists(name, package), f"{title}: {name}"
            if "/" in name:
                package = (PACKAGE / name).parent


@pytest.mark.interpreted
def test_journeys_are_what_runs() -> None:
    chapter = PAGE.split("\nTen journeys\n")[1].split("\nOne thread, one reactor\n")[0]
    for title, found in walk():
        entry = re.search(rf"^{title}\n((?:    .*\n)+)", chapter, re.MULTILINE)
        assert entry, title
        there = [name.rstrip("/") for name in named(entry[1])]
        runs = [name.rstrip("/") for name in gathered(found)]
        assert there == runs, f"docs/architecture.rst should say:\n{title}\n{text(found)}"
        assert re.search(rf"^{title} +\d+ +{len(found)}$", chapter, re.MULTILINE), (
            f"the table of journeys should say that {title} enters {len(found)} modules"
        )


def test_a_module_that_does_not_exist_is_found() -> None:
    assert exists("clientlink", PACKAGE / "proxy" / "http")
    assert not exists("clientlink", PACKAGE / "proxy" / "tcp")
    assert not exists("proxy/nowhere", PACKAGE)
