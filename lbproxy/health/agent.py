"""PURE. The line that a server's agent sends, in HAProxy's agent-check protocol.

:mod:`lbproxy.checks.agents` reads it. Words are separated by white space or commas, in any case.
Text after ``#`` is a reason for people:

==========================  ============================================================
``up``                      the server is healthy
``down``, ``fail``,         the server is not healthy
``failed``, ``stopped``
``ready``                   the server wants work: ends ``drain`` and ``maint``
``drain``                   no new work
``maint``                   no new work and no checks
``75%``                     part of the weight
``maxconn:30``              limit of connections
==========================  ============================================================

Other words are ignored. A line with none of these words is an error.
"""

from __future__ import annotations

import re

from attrs import frozen

__all__ = ["Advice", "parse_advice"]

_WISHES = ("ready", "drain", "maint")
_WELL = {"up": True, "down": False, "fail": False, "failed": False, "stopped": False}
_PERCENT = re.compile(r"([0-9]{1,4})%")
_MAXCONN = re.compile(r"maxconn:([0-9]{1,8})")
_MOST_PERCENT = 1000


@frozen
class Advice:
    """The content of one line from an agent; "" and None for what it omits.

    ``percent``: 0 to 1000.
    """

    wish: str = ""
    well: bool | None = None
    percent: int | None = None
    maxconn: int | None = None
    note: str = ""


def parse_advice(line: str) -> Advice:
    """Parse one line. Raises ValueError if it contains no known word."""
    words, _, note = line.partition("#")
    wish, well, percent, maxconn = "", None, None, None
    for word in re.split(r"[\s,]+", words.lower()):
        if word in _WISHES:
            wish = word
        elif word in _WELL:
            well = _WELL[word]
        elif found := _PERCENT.fullmatch(word):
            percent = min(int(found[1]), _MOST_PERCENT)
        elif found := _MAXCONN.fullmatch(word):
            maxconn = int(found[1])
    if not wish and well is None and percent is None and maxconn is None:
        raise ValueError(f"said {line[:80]!r}, which means nothing")
    return Advice(wish, well, percent, maxconn, _printable(note.strip())[:200])


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
