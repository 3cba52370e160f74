"""One word, one meaning: a public class has a name that no other module of lbproxy uses."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.support.sources import SOURCES, modules

pytestmark = SOURCES


def classes() -> dict[str, set[str]]:
    """The names of the public classes at the top of modules, with these modules."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(module)
    return found


def twice() -> dict[str, set[str]]:
    """The names that more than one module gives to a class."""
    return {name: modules for name, modules in classes().items() if len(modules) > 1}


def test_classes_are_found() -> None:
    assert classes()["LoadBalancer"] == {"service"}


def test_no_two_public_classes_have_the_same_name() -> None:
    assert twice() == {}
