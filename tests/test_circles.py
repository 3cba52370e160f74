"""Import cycles, among modules and among packages: none but the named ones, typing-only imports
counted.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from subprocess import run

from tests.support.sources import SOURCES
from tests.test_layering import imports

pytestmark = SOURCES


def names(words: str) -> frozenset[str]:
    """The words of a string."""
    return frozenset(words.split())


# Cycles that still exist, by the reason.  A module that has left its cycle must leave the list.
MODULES: dict[str, frozenset[str]] = {}

# The same among the packages (and plain modules) directly below ``lbproxy``.
PACKAGES: dict[str, frozenset[str]] = {
    # Only interfaces' annotations close it: ServerState, RequestHead, ResponseHead, Transform.
    # Protocols in their place would describe each class twice, and plugins would be checked against
    # the copy.  The test below allows no import at run time.
    "the extension points name the objects that plugins see": names("balance http interfaces"),
}


def edges() -> dict[str, set[str]]:
    """Every module of ours with the modules of ours that it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in imports():
        if one.target.startswith("lbproxy.") and one.module:
            found[one.module].add(one.target.removeprefix("lbproxy."))
    return found


def of_packages(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same between the packages directly below ``lbproxy``."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, targets in graph.items():
        found[module.split(".")[0]] |= {target.split(".")[0] for target in targets}
    return {package: targets - {package} for package, targets in found.items()}


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """What ``start`` imports, directly or through others."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph.get(waiting.pop(), ()):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


def cycles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The strongly connected components of more than one node, and nodes that import themselves."""
    seen = {name: reachable(graph, name) for name in graph}
    return {
        frozenset(other for other in beyond if name in seen.get(other, ()))
        for name, beyond in seen.items()
        if name in beyond
    }


def shown(found: Iterable[frozenset[str]]) -> str:
    """One cycle per line."""
    return "\n".join(" ".join(sorted(one)) for one in found)


def test_the_search_finds_cycles() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"e"}}
    assert cycles(graph) == {frozenset("abc"), frozenset("e")}


def strangers(found: set[frozenset[str]], known: dict[str, frozenset[str]]) -> set[frozenset[str]]:
    """The cycles in ``found`` that no exception covers."""
    return {one for one in found if not any(one <= listed for listed in known.values())}


def test_no_cycle_among_modules() -> None:
    unknown = strangers(cycles(edges()), MODULES)
    assert not unknown, f"new cycles, or known ones with more modules:\n{shown(unknown)}"


def test_no_cycle_among_packages() -> None:
    unknown = strangers(cycles(of_packages(edges())), PACKAGES)
    assert not unknown, f"new cycles, or known ones with more packages:\n{shown(unknown)}"


def test_interfaces_import_no_package_of_the_cycle_at_run_time() -> None:
    code = "import lbproxy.interfaces, sys; print(*sys.modules)"
    loaded = run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    ours = {name for name in loaded.split() if name.startswith("lbproxy.")}
    assert "lbproxy.interfaces" in ours
    assert not {name for name in ours if name.startswith(("lbproxy.balance", "lbproxy.http"))}


def test_exceptions_name_only_what_is_in_a_cycle() -> None:
    over = frozenset().union(*MODULES.values()) - frozenset().union(*cycles(edges()))
    over |= frozenset().union(*PACKAGES.values()) - frozenset().union(*cycles(of_packages(edges())))
    assert not over, f"in no cycle any longer; remove from the lists above: {sorted(over)}"
