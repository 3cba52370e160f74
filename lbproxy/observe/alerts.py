"""PURE. Alerts: their start and end, from the conditions of the alert rules.

:mod:`lbproxy.alerts.alerter` takes a :class:`Sample` each second and passes it to
:meth:`Alerts.look`. Each rule of :data:`~lbproxy.observe.alertrules.RULES` returns the subjects for
which its condition holds. An alert fires when the condition has held for the rule's ``after``
seconds. It recovers when the condition has not held for :data:`CALM` seconds, and then has the
figures of that time.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve, frozen

from lbproxy.observe.alertrules import RULES, AlertRule
from lbproxy.observe.finding import WINDOW, AlertLimits, Finding
from lbproxy.observe.samples import BackendSample, CacheSample, FrontendSample, History, Sample

__all__ = [
    "CALM",
    "RULES",
    "WINDOW",
    "Alert",
    "AlertChange",
    "AlertLimits",
    "AlertRule",
    "Alerts",
    "BackendSample",
    "CacheSample",
    "Finding",
    "FrontendSample",
    "History",
    "Sample",
]


CALM = 30.0
"""An alert recovers when its condition has not held for this many seconds."""


@frozen
class Alert:
    """A firing alert: the name of its rule and its current :class:`Finding`.

    ``since``: start, in the clock of :attr:`Sample.at`.
    """

    name: str
    finding: Finding
    since: float

    @property
    def subject(self) -> str:
        """The subject of the finding."""
        return self.finding.subject


@frozen
class AlertChange:
    """An alert that fires, or has recovered (``fired`` is False)."""

    fired: bool
    alert: Alert


@define
class _State:
    finding: Finding
    since: float  # when the condition began to hold
    seen: float  # when it held last
    alert: Alert | None = None


class Alerts:
    """Evaluates the rules. ``limits``: by name of the rule; a rule without limits is off."""

    def __init__(self, limits: Mapping[str, AlertLimits]) -> None:
        self._limits = {name: limits[name] for name in RULES if name in limits}
        self._history = History()
        self._states: dict[tuple[str, str], _State] = {}

    @property
    def active(self) -> list[Alert]:
        """The firing alerts, in the order of their start."""
        found = [state.alert for state in self._states.values() if state.alert is not None]
        return sorted(found, key=lambda alert: alert.since)

    def look(self, sample: Sample) -> list[AlertChange]:
        """Process a sample; return the alerts that start or recover."""
        self._history.add(sample)
        changes: list[AlertChange] = []
        firing: dict[str, list[str]] = {}
        for alert in self.active:
            firing.setdefault(alert.name, []).append(alert.subject)
        for name, limits in self._limits.items():
            for finding in RULES[name].look(self._history, limits, firing.get(name, ())):
                if finding.holds:
                    self._found(name, finding, limits.after, sample.at, changes)
                elif sample.at - (state := self._states[name, finding.subject]).seen >= CALM:
                    state.finding = evolve(finding, severity=state.finding.severity)
        for key, state in list(self._states.items()):
            if state.seen == sample.at:
                continue
            if state.alert is None:
                del self._states[key]  # the condition did not last
            elif sample.at - state.seen >= CALM:
                del self._states[key]
                changes.append(AlertChange(False, evolve(state.alert, finding=state.finding)))
        self._history.forget((*sample.frontends, *sample.backends, *sample.caches))
        return changes

    def _found(
        self, name: str, finding: Finding, after: float, at: float, changes: list[AlertChange]
    ) -> None:
        key = (name, finding.subject)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = _State(finding, at, at)
        state.finding, state.seen = finding, at
        if state.alert is not None:
            state.alert = Alert(name, finding, state.alert.since)
        elif at - state.since >= after:
            state.alert = Alert(name, finding, at)
            changes.append(AlertChange(True, state.alert))
