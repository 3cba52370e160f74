"""PURE. The types of alert rules: a condition that holds or held, and the parameters of a rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from attrs import field, frozen

from lbproxy.observe.events import EventSeverity
from lbproxy.observe.samples import History

__all__ = ["WINDOW", "AlertLimits", "Finding", "Look", "milliseconds"]

WINDOW = 60.0
"""Period in seconds over which ratios and sums are computed."""


@frozen
class Finding:
    """A condition of ``subject``, with its current figures. ``holds``: whether it is met now."""

    subject: str
    text: str
    severity: EventSeverity = EventSeverity.WARNING
    facts: Mapping[str, Any] = field(factory=dict)
    holds: bool = True


@frozen
class AlertLimits:
    """The parameters of a rule.

    ``limit``: in the rule's unit. ``after``: seconds. ``volume``: minimum number of requests.
    """

    limit: float
    after: float
    volume: int = 0


Look = Callable[[History, AlertLimits, Collection[str]], Iterable[Finding]]
"""A rule. It returns the subjects that meet its condition, and those of the third argument that no
longer do, whose figures the notice of a recovery shows. It leaves out subjects that are gone.
"""


def milliseconds(seconds: float) -> str:
    """Return a duration in seconds, or in milliseconds if it is less than a second."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
