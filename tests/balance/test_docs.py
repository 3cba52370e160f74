"""The page about balancers says what is true: its examples run, and no built-in is missing."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from random import Random as Chance
from textwrap import dedent
from types import ModuleType

import pytest

from lbproxy.balance.leastconn import FEW
from lbproxy.interfaces import Env

from .tools import BUILTIN, Clock, Context, group_of, server

PAGE = (Path(__file__).parents[2] / "docs" / "balancers.rst").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"code-block:: python\n +:caption: (\S+)\.py\n\n((?: +.*\n|\n)+)")
EXAMPLES = {name: dedent(code).strip() + "\n" for name, code in EXAMPLE.findall(PAGE)}


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(EXAMPLES[name], f"{name}.py", "exec"), module.__dict__)
    return module


def test_the_example_is_ten_lines_at_most() -> None:
    lines = [line for line in EXAMPLES["nearest"].splitlines() if line]
    assert len(lines) <= 10


def test_the_example_and_its_test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    load("nearest", monkeypatch)
    load("test_nearest", monkeypatch).test_prefers_its_zone()


def test_the_example_with_options_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = load("zone", monkeypatch).Zone
    balancer = zone(zone.Options("eu-"), Env(Clock(), Chance(1)))
    group = group_of(balancer, [server("us-1", maxconn=1), server("eu-1", maxconn=1)])
    leases = [group.pick(Context()), group.pick(Context())]
    assert [lease and lease.server.name for lease in leases] == ["eu-1", "us-1"]


def test_every_builtin_has_a_section() -> None:
    names = {cls.name for cls, _ in BUILTIN.values()}
    sections = set(re.findall(r"^(\w+)\n~+$", PAGE, re.MULTILINE))
    assert names <= sections
    assert all(f"``{name}``" in PAGE for name in names)
    assert f"up to {FEW} servers" in PAGE
