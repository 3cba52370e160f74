"""PURE. Access log records for viewers that follow the log: conversion to lines, and their rate.

A frontend calls each of its ``followers`` with each record. In the master of workers they are
called with records of its workers, which are lines already.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from lbproxy.errors import Kind
from lbproxy.observe.accesslog import with_location
from lbproxy.observe.jsonlog import http_line, tcp_line

__all__ = ["RATE", "LineMaker", "ViewerLine"]

RATE = 100
"""Maximum number of records sent to a viewer per second."""

_FINE = (Kind.OK, Kind.REPLIED)


@frozen
class ViewerLine:
    """A record of another process.

    ``line``: JSON, or "". ``missed``: number of records that the process omitted.
    """

    line: str
    fine: bool
    missed: int = 0


class LineMaker:
    """Converts records to JSON lines, at most :data:`RATE` a second, whatever the access log's
    format. The lines contain the country and the network of the client if these are known.

    ``missed``: records omitted since the last :meth:`turn`.
    """

    def __init__(self) -> None:
        self._lines = {"http": with_location(http_line()), "tcp": with_location(tcp_line())}
        self._left = RATE
        self.missed = 0

    def turn(self) -> int:
        """Begin a new second; return the number of records omitted in the last one."""
        missed, self.missed, self._left = self.missed, 0, RATE
        return missed

    def line(self, record: Any) -> str | None:
        """Return the line, or None if the rate is exceeded. Never raises."""
        if isinstance(record, ViewerLine) and not record.line:
            self.missed += record.missed
            return None
        if self._left <= 0:
            self.missed += 1
            return None
        self._left -= 1
        if isinstance(record, ViewerLine):
            return record.line
        try:
            return str(self._lines[record.mode](record), "utf-8").rstrip("\n")
        except BaseException:  # a field contains an object of a filter: the access log reports it
            self.missed += 1
            return None

    @staticmethod
    def fine(record: Any) -> bool:
        """Return whether a record is a success."""
        if isinstance(record, ViewerLine):
            return record.fine
        return record.close in _FINE and getattr(record, "status", 0) < 500
