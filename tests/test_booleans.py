"""Classes have few booleans that change: a state is an enum with a table, facts are said to be
independent.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from tests.support.sources import SOURCES, modules

pytestmark = SOURCES

MOST = 3

INDEPENDENT: dict[str, str] = {
    "Answering": "Exchange in part",
    "Attempt": "state in attemptstate; facts that its owner reads, also after the end",
    "Challenge": "what a configuration asks for, and whether the switch is watched",
    "Client": "public facts of a test's connection; ended in one direction, then in both",
    "ClientFlow": "H1ClientConnection in part",
    "ClientSender": "H1ClientConnection in part",
    "Exchange": "state in exchangestate; back-pressure of both sides, what has happened once",
    "Fetch": "state in fetchstate; whether it is complete and whether clients may join",
    "H1ClientConnection": "state in clientstate; back-pressure of both sides, FIN, the last one",
    "H1ServerConnection": "state in serverstate; back-pressure of both sides, FIN, the last one",
    "Membership": "what has changed since the balancer was told, and panic",
    "MemoryTransport": "wishes and a queue as in Sender, and two options of sockets",
    "Sender": "state in halfclose; the owner's wishes, a queue, the requests to the producer",
    "ServerLink": "H1ServerConnection in part",
}
"""Classes with more, whose booleans do not depend on one another, and what they are."""

Attributes = set[str]

Class = tuple[list[str], Attributes, Attributes]
"""Bases and own attributes of a class."""


def _targets(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Yield what a statement assigns to, and the value if it is a single one."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple):
                values = node.value.elts if isinstance(node.value, ast.Tuple) else []
                yield from zip(target.elts, values or [None] * len(target.elts), strict=False)
            else:
                yield target, node.value
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        yield node.target, node.value


def _own(body: list[ast.stmt]) -> tuple[Attributes, Attributes]:
    """Return the attributes of ``self`` that a class sets to True or False somewhere, and those
    that it sets in a method besides ``__init__``.
    """
    booleans: Attributes = set()
    changed: Attributes = set()
    for method in body:
        if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(method):
            for target, value in _targets(node):
                if not (isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"):
                    continue
                if isinstance(value, ast.Constant) and isinstance(value.value, bool):
                    booleans.add(target.attr)
                if method.name != "__init__":
                    changed.add(target.attr)
    return booleans, changed


@cache
def _classes() -> dict[str, Class]:
    """Return every class by its module and name: two modules may have classes of one name."""
    found: dict[str, Class] = {}
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(one).partition("[")[0] for one in node.bases]
                found[f"{module}:{node.name}"] = bases, *_own(node.body)
    return found


@cache
def _places() -> dict[str, list[str]]:
    """Return the classes of each name."""
    found: dict[str, list[str]] = {}
    for one in _classes():
        found.setdefault(one.rpartition(":")[2], []).append(one)
    return found


@cache
def _imported(module: str) -> dict[str, str]:
    """Return the module and name of each class of ours that a module imports, by its name there."""
    return {
        alias.asname or alias.name: f"{node.module.removeprefix('lbproxy.')}:{alias.name}"
        for node in ast.walk(modules()[module])
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _found(base: str, module: str) -> list[str]:
    """Return the classes that ``base`` may mean in ``module``: its own, the one it imports, else
    all of that name.
    """
    for one in (f"{module}:{base}", _imported(module).get(base, "")):
        if one in _classes():
            return [one]
    return _places().get(base.rpartition(".")[2], [])


def _bases(one: str) -> list[str]:
    module = one.partition(":")[0]
    return [found for base in _classes()[one][0] for found in _found(base, module) if found != one]


def _family(one: str) -> Iterator[str]:
    """Yield a class and its bases."""
    yield one
    for base in _bases(one):
        yield from _family(base)


@cache
def _all(one: str) -> Attributes:
    """Return the booleans of a class that change, inherited ones included."""
    found = [_classes()[member] for member in _family(one)]
    booleans: Attributes = set().union(*(known[1] for known in found))
    return booleans.intersection(set().union(*(known[2] for known in found)))


def _many(one: str) -> bool:
    """Return whether a class adds a boolean to those of its bases, and has too many."""
    inherited = any(_all(base) == _all(one) for base in _bases(one))
    return len(_all(one)) > MOST and not inherited


def test_few_booleans_change() -> None:
    wrong = [
        f"{one}: {', '.join(sorted(_all(one)))}"
        for one in sorted(_classes())
        if one.rpartition(":")[2] not in INDEPENDENT and _many(one)
    ]
    assert not wrong, "make a state of them, or name why they are independent:\n" + "\n".join(wrong)


def test_every_exception_is_needed() -> None:
    needed = {one.rpartition(":")[2] for one in _classes() if _many(one)}
    assert not INDEPENDENT.keys() - needed


def test_classes_of_one_name_are_told_apart() -> None:
    twins = [found for found in _places().values() if len(found) > 1]
    assert twins, "no name is used twice: nothing to tell apart"
    for one in (one for found in twins for one in found):
        module, _, name = one.partition(":")
        assert _found(name, module) == [one]
