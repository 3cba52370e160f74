"""One word, one meaning: a public class has a name that no other module of lbproxy uses."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import lbproxy

ROOT = Path(lbproxy.__file__).parent


def classes() -> dict[str, set[str]]:
    """The names of the public classes at the top of modules, with these modules."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(str(path.relative_to(ROOT)))
    return found


def twice() -> dict[str, set[str]]:
    """The names that more than one module gives to a class."""
    return {name: modules for name, modules in classes().items() if len(modules) > 1}


def test_classes_are_found() -> None:
    assert classes()["LoadBalancer"] == {"service.py"}


def test_no_two_public_classes_have_the_same_name() -> None:
    assert twice() == {}
