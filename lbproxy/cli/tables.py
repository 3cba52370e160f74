"""CONTROL. Tables and numbers for people at a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["bytes_", "plain", "show", "since", "state"]

_COLOURS = {"up": "green", "down": "red", "drain": "yellow", "maint": "yellow"}


def bytes_(count: float) -> str:
    """Return a number of bytes as text, such as ``1.4M``."""
    for unit in ("", "k", "M", "G"):
        if count < 1000:
            return f"{count:.0f}{unit}" if count >= 10 or not unit else f"{count:.1f}{unit}"
        count /= 1024
    return f"{count:.1f}T"


def since(seconds: float) -> str:
    """Return a duration in its two largest units, such as ``3d4h``."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def state(word: str) -> str:
    """Return a state in its colour if standard output is a terminal."""
    return click.style(word, fg=_COLOURS.get(word))


def plain(text: str) -> str:
    """Return text from a client without control characters, for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def show(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print columns. Numbers are aligned to the right. On a terminal the last column is cut to the
    available width.
    """
    cells = [[_text(cell) for cell in row] for row in rows]
    lines = [list(titles), *cells]
    widths = [max(len(click.unstyle(line[i])) for line in lines) for i in range(len(titles))]
    right = [bool(rows) and all(_number(row[i]) for row in rows) for i in range(len(titles))]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    before = sum(width + 2 for width in widths[:-1])
    for number, line in enumerate(lines):
        shown = [_pad(cell, widths[i], right[i]) for i, cell in enumerate(line)]
        last = click.unstyle(line[-1]) if room else line[-1]
        if not right[-1]:
            shown[-1] = last[: room - before - 1] if room > before + 10 else line[-1]
        text = "  ".join(shown).rstrip()
        click.echo(click.style(text, bold=True) if number == 0 else text)


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else "" if cell is None else str(cell)


def _number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _pad(cell: str, width: int, right: bool) -> str:
    space = " " * (width - len(click.unstyle(cell)))
    return space + cell if right else cell + space
