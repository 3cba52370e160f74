"""CONTROL. Reads the lines of access logs for commands."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["lines_of", "opened"]

LONGEST = 1024 * 1024
"""Maximum length of a line in characters. A longer one is cut and is not a request."""


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
    """Yield the lines of a file. A line that is too long is cut."""
    while line := stream.readline(LONGEST):
        rest = line
        while len(rest) == LONGEST and not rest.endswith("\n"):
            line, rest = "too long", stream.readline(LONGEST)
        yield line
