"""What the pages show of the command line is what it prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbproxy.cli import main

from .pages import DOCS, ROOT, blocks, furnish, write_captioned

PAGES = [ROOT / "README.rst", *sorted(DOCS.glob("*.rst"))]
SHOWN = ("check", "explain", "config")


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """(command, lines shown after it) for each lbproxy command with output."""
    found: list[tuple[str, list[str]]] = []
    for block in blocks(page, "console"):
        current: list[str] | None = None
        for line in block.text.splitlines():
            if line.startswith("$ "):
                words = line[2:].split()
                current = None
                if words[0] == "lbproxy" and words[1] in SHOWN:
                    current = []
                    found.append((line[2:], current))
            elif current is not None:
                current.append(line)
    return found


ALL = [(page.name, command, lines) for page in PAGES for command, lines in commands(page) if lines]


@pytest.mark.parametrize(("page", "command", "lines"), ALL, ids=[f"{p}-{c}" for p, c, _ in ALL])
def test_output_is_as_shown(
    page: str, command: str, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(tmp_path)
    write_captioned(ROOT / page if page == "README.rst" else DOCS / page, tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, shlex.split(command)[1:])
    assert result.exit_code in (0, 1), result.output
    parts = [r"(?:.*\n)*?" if line == "..." else re.escape(line) + r" *\n" for line in lines]
    shown = "\n".join(lines)
    assert re.fullmatch("".join(parts), result.output), f"{shown}\n-- but --\n{result.output}"


def test_enough_is_shown() -> None:
    assert len([one for one in ALL if one[0] == "explain.rst"]) >= 9
