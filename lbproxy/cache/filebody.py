"""PURE. The bodies of stored responses: in memory, or in a file."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Body", "FileBody"]


class FileBody(Protocol):
    """A complete body that is not in memory. ``size``: its length in bytes."""

    @property
    def size(self) -> int: ...


Body = bytes | FileBody
"""The body of an entry."""
