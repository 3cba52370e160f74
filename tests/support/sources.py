"""The sources of lbproxy, parsed once for all tests that read them.

These tests are in the group ``sources``, so one worker parses: ``pytestmark = SOURCES``.
"""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path

import pytest

__all__ = ["PACKAGE", "SOURCES", "module_name", "modules"]

PACKAGE = Path(__file__).resolve().parents[2] / "lbproxy"
SOURCES = pytest.mark.xdist_group("sources")


def module_name(path: Path) -> str:
    """Return the dotted name below ``lbproxy`` of a file there; a package has its own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module by :func:`module_name`.

    Parsing takes a second: not for use while tests are collected.  The million objects are set
    aside, or each later collection of the process would take a second as well.
    """
    gc.collect()
    gc.disable()
    try:
        paths = sorted(PACKAGE.rglob("*.py"))
        return {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    finally:
        gc.freeze()
        gc.enable()
