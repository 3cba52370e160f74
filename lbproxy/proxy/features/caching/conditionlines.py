"""DATA. The lines of ``bypass`` and ``refresh`` for display."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Any, Final

from attrs import define, field

from lbproxy.errors import ProxyError
from lbproxy.http.conditional import Conditions
from lbproxy.http.message import RequestHead

__all__ = ["HeadContext", "held_line", "open_lines"]

_UNKNOWN: Final = frozenset({"client", "sni", "alpn", "port"})
"""Conditions about the client's connection."""


@define
class HeadContext:
    """A request whose client and connection are unknown, for :func:`open_lines` and, with lines
    that do not ask for them, :func:`held_line`.
    """

    request: RequestHead
    scheme: str
    started: float = field(factory=time)
    response: Any = None


def held_line(lines: Sequence[Sequence[Any]], context: Any) -> str:
    """Return the first line whose conditions all hold, or ""."""
    for line in lines:
        conditions = Conditions(line)
        if _hold(conditions, context):
            return _text(conditions)
    return ""


def open_lines(
    lines: Sequence[Sequence[Any]], context: HeadContext
) -> tuple[list[Sequence[Any]], list[str]]:
    """Return the lines that depend only on the request, and the text of those that hold or not
    depending on the client or its connection.
    """
    known: list[Sequence[Any]] = []
    unknown: list[str] = []
    for line in lines:
        if not any(one[0] in _UNKNOWN for one in line):
            known.append(line)
        elif _hold(Conditions([one for one in line if one[0] not in _UNKNOWN]), context):
            unknown.append(_text(Conditions(line)))
    return known, unknown


def _hold(conditions: Conditions, context: Any) -> bool:
    try:
        return conditions.hold(context)
    except ProxyError:
        return False  # an ambiguous path, which the frontend refuses


def _text(conditions: Conditions) -> str:
    return " ".join(one.text for one in conditions.conditions)
