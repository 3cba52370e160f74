"""CONTROL. Text from servers, cleaned for a note."""

from __future__ import annotations

__all__ = ["shorten"]


def shorten(text: str, limit: int = 160) -> str:
    """One line of printable text, for a note."""
    line = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return line if len(line) <= limit else f"{line[:limit]}..."
