"""CONTROL. The lines of access logs that commands read."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["lines_of", "opened"]

LONGEST = 1024 * 1024
"""Characters in the longest line that is looked at; a longer one is no request."""


@contextmanager
def opened(path: str) -> Iterator[TextIO]:
    """Open a log; .gz is decompressed, and - is standard input."""
    if path == "-":
        yield sys.stdin
        return
    if path.endswith(".gz"):
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as stream:
            yield stream
    else:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            yield stream


def lines_of(stream: TextIO) -> Iterator[str]:
    """Yield the lines of a file; a line that is too long is cut."""
    while line := stream.readline(LONGEST):
        rest = line
        while len(rest) == LONGEST and not rest.endswith("\n"):
            line, rest = "too long", stream.readline(LONGEST)
        yield line
