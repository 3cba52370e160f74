"""DATA. The effects of one limit."""

from __future__ import annotations

__all__ = ["LimitTally"]


class LimitTally:
    """Requests that were asked about, and what became of those beyond the limit."""

    __slots__ = ("asked", "delayed", "logged", "refused")

    def __init__(self) -> None:
        self.asked = 0
        self.refused = 0
        self.delayed = 0
        self.logged = 0

    def numbers(self) -> dict[str, int]:
        """Return the counts by name."""
        return {
            "asked": self.asked,
            "refused": self.refused,
            "delayed": self.delayed,
            "logged": self.logged,
        }
