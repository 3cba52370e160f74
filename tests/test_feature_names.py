"""Features own themselves: other modules neither import a feature nor name one.

The exceptions below are modules that belong to features (the pages of the admin API and commands of
one feature, the words of ``explain``), or that keep a name which programs use.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from fnmatch import fnmatch
from functools import cache

import pytest

from lbproxy.features import FEATURES
from tests.support.sources import SOURCES, modules
from tests.test_layering import imports

pytestmark = SOURCES

Finder = Callable[[], dict[str, list[str]]]

HOME = ("proxy.features", "features")
"""Features, and their table."""

IMPORTERS: dict[str, str] = {
    "admin.cachemetrics": "metrics of caches, which are no counters of an owner",
    "admin.parts.bans": "the API of bans",
    "admin.parts.caches": "the API of caches",
    "admin.parts.challenges": "the API of challenges",
    "admin.parts.corskeys": "the API of keys of a CORS proxy",
    "admin.parts.firewalls": "the API of firewalls",
    "admin.parts.lists": "the API of lists",
    "admin.parts.refusals": "the API of refusals",
    "admin.parts.tracks": "the API of tracks",
    "cli.cachereplay": "lbproxy cache replay, on a log without a running lbproxy",
    "cli.keys": "lbproxy keys, on a file without a running lbproxy",
    "cli.offline": "lbproxy check of rules of firewalls",
    "decide.*": "explain words the decision of each feature without traffic and without Twisted",
    "featuremethods": "methods that embedding programs call; it imports types alone",
    "testing.rediscache": "a Redis in memory that runs the scripts of caches",
}
"""Modules outside of features that import one, and why."""

NAMERS: dict[str, str] = {
    "featuremethods": "methods that embedding programs call",
    "alerts.alerter": "an alert switches the challenge on; the key challenge = alert of routes",
    "balance.server": "a field of servers and the word of a note: agent",
    "checks.agents": "is a feature",
    "checks.dnsservers": "is a feature",
    "ending": "a field of what a successor inherits, which older processes write",
    "errors": "a close reason: shed",
    "nodes.exchange": "the name of the exchange in logs: limits",
    "observe.fields": "a field of log records: cache",
    "probes.agent": "a kind of probe: agent",
    "proxy.http.attemptowner": "an attribute: limits",
    "proxy.policy": "an attribute: limits",
    "registry": "a kind of extension: sticky",
    "workers.serverstate": "a field of servers: agent",
    "model.*": "keys of the model, see docs/architecture.rst",
    "config.*": "readers, writers and checks of the keys of the model",
    "admin.parts.bans": "the API of bans",
    "admin.parts.caches": "the API of caches",
    "admin.parts.firewalls": "the API of firewalls",
    "admin.parts.lists": "the API of lists",
    "admin.parts.refusals": "the API of refusals",
    "admin.parts.tracks": "the API of tracks",
    "cli.base": "the order of commands, which are named after features",
    "cli.bans": "the commands of bans",
    "cli.cache": "the commands of caches",
    "cli.challenge": "the commands of challenges",
    "cli.lists": "the commands of lists",
    "cli.offline": "lbproxy check of a frontend that fetches",
    "cli.tracks": "the commands of tracks",
    "cli.why": "a path of the API: refusals",
    "decide.*": "see IMPORTERS",
}
"""Modules outside of features with a string that is the name of one, and why."""


def _outside() -> list[str]:
    return [
        name
        for name in modules()
        if not any(name == home or name.startswith(f"{home}.") for home in HOME)
    ]


@cache
def _importers() -> dict[str, list[str]]:
    """Modules outside that import a feature, those for type checkers alone included."""
    found: dict[str, list[str]] = {}
    outside = set(_outside())
    for one in imports():
        if one.module in outside and one.target.startswith("lbproxy.proxy.features."):
            found.setdefault(one.module, []).append(str(one))
    return found


@cache
def _namers() -> dict[str, list[str]]:
    """Modules outside with a string that is the name of a feature."""
    names = {one.name for one in FEATURES}
    found: dict[str, list[str]] = {}
    for module in _outside():
        for node in ast.walk(modules()[module]):
            if isinstance(node, ast.Constant) and node.value in names:
                found.setdefault(module, []).append(f"{module}:{node.lineno} {node.value}")
    return found


def _excused(module: str, known: dict[str, str]) -> bool:
    return any(fnmatch(module, pattern) for pattern in known)


both = pytest.mark.parametrize(
    ("find", "known"), [(_importers, IMPORTERS), (_namers, NAMERS)], ids=["imports", "names"]
)


@both
def test_no_other_module_knows_a_feature(find: Finder, known: dict[str, str]) -> None:
    wrong = [line for name, lines in find().items() if not _excused(name, known) for line in lines]
    assert not wrong, "\n".join(wrong)


@both
def test_every_exception_is_needed(find: Finder, known: dict[str, str]) -> None:
    found = find()
    needless = [one for one in known if not any(fnmatch(name, one) for name in found)]
    assert not needless


def test_embedding_methods_import_types_alone() -> None:
    wrong = [one for one in imports() if one.module == "featuremethods" and not one.typing]
    assert not [one for one in wrong if one.target.startswith("lbproxy.proxy.features.")]
