"""CONTROL. Cleans text from servers for a note."""

from __future__ import annotations

__all__ = ["shorten"]


def shorten(text: str, limit: int = 160) -> str:
    """Return ``text`` as one line of printable characters, for a note."""
    line = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return line if len(line) <= limit else f"{line[:limit]}..."
