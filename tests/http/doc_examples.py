"""Runs the Python examples of a documentation page, in order, as one program."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

DOCS = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:(?:   .*)?\n)+)", re.MULTILINE)


def run_page(name: str) -> int:
    """Execute every Python block of ``docs/name``; how many there were."""
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = [dedent(block) for block in _BLOCK.findall(text)]
    assert len(blocks) == text.count("code-block:: python")
    names: dict[str, object] = {"__name__": "docs"}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
    return len(blocks)
