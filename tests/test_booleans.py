"""Classes have few booleans that change: a state is an enum with a table, facts are said to be
independent.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.test_layering import modules

pytestmark = pytest.mark.xdist_group("sources")

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
def _classes() -> dict[str, tuple[tuple[str, ...], Attributes, Attributes]]:
    """Return bases and own attributes of every class, by name; public names are unique."""
    found: dict[str, tuple[tuple[str, ...], Attributes, Attributes]] = {}
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = tuple(ast.unparse(one).partition("[")[0] for one in node.bases)
                found[node.name] = bases, *_own(node.body)
    return found


def _family(name: str) -> Iterator[str]:
    """Yield a class and its bases."""
    yield name
    for base in _classes().get(name, ((),))[0]:
        yield from _family(base)


def _all(name: str) -> Attributes:
    """Return the booleans of a class that change, inherited ones included."""
    found = [_classes()[one] for one in _family(name) if one in _classes()]
    booleans: Attributes = set().union(*(one[1] for one in found))
    return booleans.intersection(set().union(*(one[2] for one in found)))


def _many(name: str) -> bool:
    """Return whether a class adds a boolean to those of its bases, and has too many."""
    bases = _classes()[name][0]
    inherited = any(_all(base) == _all(name) for base in bases)
    return len(_all(name)) > MOST and not inherited


def test_few_booleans_change() -> None:
    wrong = [
        f"{name}: {', '.join(sorted(_all(name)))}"
        for name in sorted(_classes())
        if name not in INDEPENDENT and _many(name)
    ]
    assert not wrong, "make a state of them, or name why they are independent:\n" + "\n".join(wrong)


def test_every_exception_is_needed() -> None:
    assert [name for name in INDEPENDENT if not _many(name)] == []
