"""PURE. Notices about alerts: their content, and when they are sent.

Alerts are grouped, limited in rate, held back in quiet times, and repeated while they last.
:mod:`lbproxy.alerts.alerter` owns one :class:`Notices` and sends its notices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, frozen

from lbproxy.observe.alerts import Alert, AlertChange
from lbproxy.observe.events import EventSeverity

__all__ = ["Manners", "Notice", "NoticeLine", "Notices", "Span"]

_LINES = 20
"""Maximum number of alerts listed in a notice; further ones are only counted."""

Span = tuple[int, int]
"""A time of the day as (from, to) in minutes after midnight. It may include midnight."""


@frozen
class Manners:
    """The conditions for sending notices.

    ``quiet``: times in which warnings wait. ``repeat``: seconds after which a lasting alert is sent
    again, 0 for never. ``recovery``: whether recoveries are sent. ``most``: maximum notices a
    minute.
    """

    quiet: tuple[Span, ...] = ()
    repeat: float = 4 * 3600.0
    recovery: bool = True
    most: int = 10


@frozen
class NoticeLine:
    """One alert in a notice. ``state``: ``firing``, ``lasting`` or ``recovered``."""

    state: str
    alert: Alert

    def as_dict(self) -> dict[str, Any]:
        """Return the line as plain JSON types."""
        finding = self.alert.finding
        return {
            "state": self.state,
            "name": self.alert.name,
            "subject": finding.subject,
            "severity": finding.severity.value,
            "text": finding.text,
            "facts": dict(finding.facts),
        }


@frozen
class Notice:
    """One notice. ``more``: number of alerts that are not listed."""

    lines: tuple[NoticeLine, ...]
    more: int = 0

    @property
    def title(self) -> str:
        """One line, for the subject of a mail or for a chat."""
        firing = [line for line in self.lines if line.state != "recovered"]
        first = (firing or self.lines)[0]
        others = len(self.lines) + self.more - 1
        word = "recovered: " if not firing else ""
        return f"{word}{first.alert.finding.text}" + (f" (and {others} more)" if others else "")

    @property
    def text(self) -> str:
        """The full text for people."""
        rows = [
            f"{line.state}: {line.alert.name}: {line.alert.finding.text}" for line in self.lines
        ]
        if self.more:
            rows.append(f"and {self.more} more")
        return "\n".join(rows)

    @property
    def severity(self) -> EventSeverity:
        """The highest severity of the firing alerts; ``info`` if all have recovered."""
        found = {line.alert.finding.severity for line in self.lines if line.state != "recovered"}
        for severity in (EventSeverity.ERROR, EventSeverity.WARNING):
            if severity in found:
                return severity
        return EventSeverity.INFO

    def as_dict(self) -> dict[str, Any]:
        """Return the notice as plain JSON types."""
        return {
            "title": self.title,
            "text": self.text,
            "severity": self.severity.value,
            "alerts": [line.as_dict() for line in self.lines],
            "more": self.more,
        }


@define
class _Told:
    alert: Alert
    at: float


class Notices:
    """Decides which notices about the firing alerts are sent, and when (see the module)."""

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._pending: dict[tuple[str, str], NoticeLine] = {}
        self._told: dict[tuple[str, str], _Told] = {}
        self._sent: deque[float] = deque()

    def look(
        self, now: float, minute: int, changes: Iterable[AlertChange], active: Sequence[Alert]
    ) -> Notice | None:
        """Return the notice to send now, or None.

        ``now``: monotonic seconds. ``minute``: minutes after midnight.
        """
        for change in changes:
            self._take(change)
        self._repeat(now, active)
        quiet = any(_within(minute, span) for span in self._manners.quiet)
        ready = {
            key: line
            for key, line in self._pending.items()
            if not quiet or line.alert.finding.severity is EventSeverity.ERROR
        }
        if not ready or not self._may(now):
            return None
        for key, line in ready.items():
            del self._pending[key]
            if line.state == "recovered":
                self._told.pop(key, None)
            else:
                self._told[key] = _Told(line.alert, now)
        self._sent.append(now)
        lines = tuple(ready.values())
        return Notice(lines[:_LINES], len(lines[_LINES:]))

    def _take(self, change: AlertChange) -> None:
        key = (change.alert.name, change.alert.subject)
        if change.fired:
            self._pending[key] = NoticeLine("firing", change.alert)
            return
        self._pending.pop(key, None)
        if key not in self._told:
            return  # the start was not reported, so the end is not reported either
        if self._manners.recovery:
            self._pending[key] = NoticeLine("recovered", change.alert)
        else:
            del self._told[key]

    def _repeat(self, now: float, active: Sequence[Alert]) -> None:
        for alert in active:
            key = (alert.name, alert.subject)
            told = self._told.get(key)
            if told is None or key in self._pending or not self._manners.repeat:
                continue
            if now - told.at >= self._manners.repeat:
                self._pending[key] = NoticeLine("lasting", alert)

    def _may(self, now: float) -> bool:
        while self._sent and now - self._sent[0] >= 60.0:
            self._sent.popleft()
        return len(self._sent) < self._manners.most


def _within(minute: int, span: Span) -> bool:
    start, end = span
    return start <= minute < end if start <= end else minute >= start or minute < end
