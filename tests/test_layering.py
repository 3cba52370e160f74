"""The layers of the package, read from its imports: who may import whom, who may know Twisted, who
the reactor.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import pytest
from attrs import frozen

from lbproxy.compiled import MODULES
from tests.support.sources import SOURCES, modules

pytestmark = SOURCES

ROOT = Path(__file__).resolve().parents[1]

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "interfaces", "compiled", "model"),
    (
        *("config", "http", "balance", "health", "observe", "guard", "cache", "sessionclose"),
        *("sharing", "limits", "lists", "bans", "cors", "waf", "challenge"),
    ),
    ("net", "tls"),
    ("proxy", "probes"),
    (
        *("generation", "checks", "logs", "alerts", "operate", "process", "admin", "features"),
        "entrypoints",
        "nodes",
    ),
    (
        *(
            "pluginload",
            "registry",
            "twistedplugins",
            "inventory",
            "featuremethods",
            "runtime",
            "ending",
            "service",
        ),
        *("configsource", "testing", "decide", "workers"),
    ),
    ("tap", "cli", "__main__"),
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
PURE = set(LAYERS[0]) | set(LAYERS[1])

# The wings of layer 4: which of them a wing may import.
WINGS: dict[str, tuple[str, ...]] = {
    "generation": ("checks", "logs", "alerts", "features"),
    "admin": ("features",),
    "operate": ("generation",),
    "process": ("generation",),
}

# Between packages of one layer; anything not here is refused.
CROSS: dict[str, tuple[str, ...]] = {
    "config": (
        "cache.policy",
        "waf.exclusion",
        "waf.own",
        "waf.rules",
        "http.circumstances",
        "http.condition",
        "http.contradiction",
        "http.filter",
        "http.patternkey",
        "limits.rate",
        "limits.rules",
        "observe.accesslog",
        "observe.alerts",
    ),
    "balance": ("http.message",),
    "http": ("guard.addresses",),
    "observe": ("http.message",),
    "guard": ("http.message",),
    "cache": (
        "http.asciihost",
        "http.headerlist",
        "http.known",
        "http.message",
        "http.paths",
        "http.patternkey",
        "http.scan",
        "http.syntax",
    ),
    "cors": ("http.known", "http.syntax", "limits.cells", "limits.rate", "limits.window"),
    "lists": ("guard.addresses",),
    "waf": ("http.message",),
    "bans": ("guard.addresses",),
    "sharing": (
        "balance.group",
        "guard.connections",
        "limits.cells",
        "limits.nodes",
        "limits.places",
        "limits.rate",
    ),
    "net": ("tls.errorwords", "tls.info", "tls.openssl", "tls.parameters"),
    "features": ("entrypoints",),
    "generation": WINGS["generation"],
    "admin": WINGS["admin"],
    "operate": WINGS["operate"],
    "process": WINGS["process"],
    "configsource": ("registry",),
    "decide": ("registry",),
    "registry": ("pluginload", "twistedplugins"),
    "featuremethods": ("inventory",),
    "runtime": ("featuremethods", "registry"),
    "ending": ("runtime",),
    "service": ("configsource", "ending", "registry"),
    "testing": ("registry", "service"),
    "workers": ("featuremethods", "inventory", "registry", "service"),
    "__main__": ("cli",),
}

# Layer 2 is machinery: of the pure packages it may know only these.
NET_KNOWS = ("http.asciihost", "compiled", "errors", "interfaces", "model")

REACTOR = {
    "workers": ("main",),
    "tap": ("makeService",),
    "cli": None,
    "service": ("from_config",),
}


@frozen
class Import:
    """``module`` imports ``target`` in ``function`` ("" at the top); ``typing``: for type checkers
    only.
    """

    module: str
    target: str
    function: str
    typing: bool
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def statements(
    node: ast.AST, function: str = "", typing: bool = False
) -> Iterator[tuple[ast.AST, str, bool]]:
    """Every statement with the function around it, and whether only type checkers see it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            continue
        yield child, function, typing
        inside = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = child.name
        hidden = typing or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
        yield from statements(child, inside, hidden)


@cache
def imports() -> tuple[Import, ...]:
    """All of them."""
    found = []
    for module, tree in modules().items():
        for node, function, typing in statements(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}: relative import"
                names = [target(node.module or "", alias.name) for alias in node.names]
            else:
                continue
            found += [Import(module, name, function, typing, node.lineno) for name in names]
    return tuple(found)


def target(package: str, name: str) -> str:
    """What ``from package import name`` imports: a module of ours, or something in one."""
    full = f"{package}.{name}"
    ours = full.removeprefix("lbproxy.") if full.startswith("lbproxy.") else None
    if ours in modules() or full == "twisted.internet.reactor":
        return full
    return package


def ours() -> Iterator[tuple[Import, str, str]]:
    """(import, top of the importer, what is imported below ``lbproxy``)."""
    for one in imports():
        if one.target.startswith("lbproxy.") and one.module:
            yield one, one.module.split(".")[0], one.target.removeprefix("lbproxy.")


def test_every_module_has_its_layer() -> None:
    tops = {name.split(".")[0] for name in modules() if name}
    assert tops <= LAYER.keys()


def test_nobody_imports_upwards() -> None:
    wrong = [
        one
        for one, top, what in ours()
        if not one.typing and LAYER[what.split(".")[0]] > LAYER[top]
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_packages_of_one_layer_know_each_other_only_where_it_is_written() -> None:
    wrong = []
    for one, top, what in ours():
        other = what.split(".")[0]
        level = LAYER[other] == LAYER[top] > 0 and other != top
        allowed = CROSS.get(top, ())
        if level and what not in allowed and other not in allowed:
            wrong.append(one)
    assert not wrong, "\n".join(map(str, wrong))


def test_machinery_knows_little_of_the_pure_packages() -> None:
    wrong = [
        one
        for one, top, what in ours()
        if LAYER[top] == 2 and LAYER[what.split(".")[0]] < 2 and what not in NET_KNOWS
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_pure_packages_do_not_know_twisted() -> None:
    wrong = [
        one
        for one in imports()
        if one.module.split(".")[0] in PURE and one.target.split(".")[0] == "twisted"
    ]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    "package",
    ["config.build", "http.h1", "http.forward", "balance.group", "features", "registry", "cli"],
)
def test_pure_packages_do_not_load_twisted(package: str) -> None:
    """Not through anybody else either; nor does the way to a configuration that was read."""
    code = (
        f"import sys, lbproxy.{package}\nprint([m for m in sys.modules if m.startswith('twisted')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_global_reactor_belongs_to_the_program() -> None:
    wrong = []
    for one in imports():
        top = one.module.split(".")[0]
        if one.target.startswith("twisted.internet.reactor") and top in REACTOR:
            functions = REACTOR[top]
            if functions is not None and one.function not in functions:
                wrong.append(one)
        elif one.target.startswith("twisted.internet.reactor"):
            wrong.append(one)
    assert not wrong, "\n".join(map(str, wrong))


def test_nobody_but_the_program_prints() -> None:
    allowed = {"tap", "cli", "__main__"}
    wrong = []
    for module, tree in modules().items():
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            top = module.split(".")[0]
            if isinstance(called, ast.Name) and called.id == "print" and top not in allowed:
                wrong.append(f"{module}:{called.lineno}")
    assert not wrong


@pytest.mark.parametrize(
    "name", sorted(name for name in LAYER if (ROOT / "lbproxy" / name).is_dir())
)
def test_every_package_says_what_kind_it_is(name: str) -> None:
    word = (ast.get_docstring(modules()[name]) or "").partition(".")[0]
    wanted = {0: "PURE", 1: "PURE", 2: "DATA", 4: "CONTROL", 6: "CONTROL"}.get(LAYER[name])
    assert word == wanted if wanted else word in ("DATA", "CONTROL")


def test_every_module_of_a_package_says_what_kind_it_is() -> None:
    wrong = [
        name
        for name, tree in modules().items()
        if "." in name
        and (ast.get_docstring(tree) or "").partition(".")[0] not in ("PURE", "DATA", "CONTROL")
    ]
    assert not wrong
    pure = [
        name
        for name, tree in modules().items()
        if "." in name
        and name.split(".")[0] in PURE
        and not (ast.get_docstring(tree) or "").startswith("PURE.")
    ]
    assert not pure


def test_nobody_is_in_twisted_s_own_packages() -> None:
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()


def test_compiled_modules_reach_no_optional_package() -> None:
    """mypyc reads the modules that compiled ones import, in an environment without the extras."""
    known = set(sys.stdlib_module_names) | {"lbproxy", "OpenSSL", "cryptography", "attr"}
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for line in setup["options"]["install_requires"].split():
        known.add(re.split(r"[\[<>=.]", line)[0].replace("-", "_"))
    found = modules()
    waiting = [name.removesuffix(".py").replace("/", ".") for name in MODULES]
    seen: set[str] = set()
    wrong = []
    while waiting:
        name = waiting.pop()
        if "." in name:
            waiting.append(name.rpartition(".")[0])  # a module's packages are imported too
        if name in seen or name not in found:
            continue
        seen.add(name)
        for node in ast.walk(found[name]):
            targets: list[str] = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                targets = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for target in targets:
                if target.partition(".")[0] == "lbproxy":
                    waiting.append(target.removeprefix("lbproxy").lstrip("."))
                elif target.partition(".")[0] not in known:
                    wrong.append(f"{name}:{node.lineno} imports {target}")  # type: ignore[attr-defined]
    assert len(seen) > 100 and not wrong
