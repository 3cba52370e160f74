"""CONTROL. Checks the counters once a second and notifies operators of problems.

:mod:`lbproxy.service` owns one :class:`Alerter`. It works while the configuration has ``[alerts]``,
and adapts after a reload. :mod:`lbproxy.observe.alerts` has the rules,
:mod:`lbproxy.observe.notices` decides when to send notices, and :mod:`lbproxy.alerts.notify` sends
them.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.alerts.notify import Destination, NotifyError, targets
from lbproxy.alerts.sampling import AlertSampler, SampledBalancer
from lbproxy.config import units
from lbproxy.config.model import AlertsSpec, Config
from lbproxy.model.secrets import mask_text
from lbproxy.observe.alerts import (
    RULES,
    Alert,
    AlertChange,
    AlertLimits,
    Alerts,
)
from lbproxy.observe.events import Event, EventKind, EventSeverity
from lbproxy.observe.notices import Manners, Notice, Notices
from lbproxy.proxy.ratelog import Quiet

__all__ = ["Alerter", "limits_for", "limits_of", "manners_of"]

_log = Logger()
_quiet = Quiet(_log)

EVERY = 1.0
"""Seconds between two samples."""

IN_FLIGHT = 20
"""Maximum number of notices being sent at a time. Further ones are dropped and logged."""


def limits_of(spec: AlertsSpec) -> dict[str, AlertLimits]:
    """Return the default limits of the rules with the changes in ``rules``."""
    limits = {name: rule.defaults for name, rule in RULES.items()}
    for one in spec.rules:
        rule = RULES[one.name]
        if one.off:
            del limits[one.name]
            continue
        limits[one.name] = AlertLimits(
            float(units.parse(rule.unit, one.limit, {})) if one.limit else rule.defaults.limit,
            rule.defaults.after if one.after is None else one.after,
            rule.defaults.volume if one.volume is None else one.volume,
        )
    return limits


def limits_for(config: Config) -> dict[str, AlertLimits]:
    """Return the limits of the rules that ``config`` needs.

    Without ``[alerts]`` this is ``attack``, if it starts a challenge.
    """
    if config.alerts.on:
        return limits_of(config.alerts)
    if any(_awaits_attacks(one) for one in config.frontends):
        return {"attack": RULES["attack"].defaults}
    return {}


def _awaits_attacks(spec: Any) -> bool:
    modes = (getattr(one, "challenge", None) for one in (spec, *spec.routes))
    return spec.mode != "tcp" and "alert" in modes


def manners_of(spec: AlertsSpec) -> Manners:
    """Return when and how often notices are sent."""
    quiet = tuple(units.parse_span(text) for text in spec.quiet)
    return Manners(quiet, spec.repeat, spec.recovery, spec.most)


class Alerter(Service):
    """Evaluates the alert rules and sends notices. ``reactor``: IReactorTime, and the interfaces
    that the destinations need. ``now``: Unix time.

    ``active``: the firing alerts. ``sent`` and ``failed`` count notices, one for each destination.
    """

    name = "alerter"

    def __init__(
        self, balancer: SampledBalancer, reactor: Any, now: Callable[[], float] = time.time
    ) -> None:
        self.sent = 0
        self.failed = 0
        self._balancer = balancer
        self._reactor = reactor
        self._now = now
        self._epoch = now() - float(reactor.seconds())
        self._sampler = AlertSampler(balancer, now)
        self._spec = AlertsSpec()
        self._limits: dict[str, AlertLimits] = {}
        self._alerts: Alerts | None = None
        self._notices = Notices(Manners())
        self._targets: list[Destination] = []
        self._call: Any = None
        self._due = 0.0
        self._sending: set[Deferred[Any]] = set()
        self._end: Callable[[], None] = lambda: None

    @property
    def on(self) -> bool:
        """True if the configuration has ``[alerts]``."""
        return self._spec.on

    @property
    def active(self) -> list[Alert]:
        """The firing alerts, in the order of their start."""
        return self._alerts.active if self._alerts is not None else []

    def unix(self, moment: float) -> float:
        """Return a moment of the reactor's clock as Unix time. Repeated calls return the same
        value.
        """
        return self._epoch + moment

    # -- life -----------------------------------------------------------------------------------

    def startService(self) -> None:
        """Start if the configuration requires it."""
        super().startService()
        self._end = self._balancer.events.subscribe(self._event)
        self._configure()

    def stopService(self) -> None:
        """Stop, and cancel notices being sent."""
        super().stopService()
        self._end()
        self._stop_looking()
        for sending in list(self._sending):
            sending.cancel()

    def _event(self, event: Event) -> None:
        self._sampler.note(event)
        if event.kind is EventKind.RELOAD:
            self._configure()

    def _configure(self) -> None:
        spec = self._balancer.config.alerts
        limits = limits_for(self._balancer.config)
        if spec == self._spec and limits == self._limits:
            return
        self._stop_looking()
        self._spec, self._limits = spec, limits
        if not limits and not spec.on:
            return
        self._alerts = Alerts(limits)
        self._notices = Notices(manners_of(spec))
        self._targets = targets(spec, self._reactor)
        self._due = self._reactor.seconds() + EVERY
        self._call = self._reactor.callLater(EVERY, self._look)

    def _stop_looking(self) -> None:
        self._spec, self._limits = AlertsSpec(), {}
        self._alerts = None
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        for frontend in self._balancer.frontends.values():
            frontend.offenders = None
            if frontend.alarm is not None:
                frontend.alarm(False)

    # -- once a second --------------------------------------------------------------------------

    def _look(self) -> None:
        alerts = self._alerts
        assert alerts is not None
        now = self._reactor.seconds()
        lag, self._due = max(0.0, now - self._due), now + EVERY
        self._call = self._reactor.callLater(EVERY, self._look)
        changes = alerts.look(self._sampler.sample(now, lag))
        for change in changes:
            self._changed(change)
        self._sound(alerts)
        clock = time.localtime(self._now())
        minute = clock.tm_hour * 60 + clock.tm_min
        notice = self._notices.look(now, minute, changes, alerts.active)
        if notice is not None:
            self.tell(notice)

    def _sound(self, alerts: Alerts) -> None:
        """Report to the frontends whether they are under attack."""
        # the subject is the frontend, or the frontend and an address
        attacked = {one.subject.partition(" ")[0] for one in alerts.active if one.name == "attack"}
        for name, frontend in self._balancer.frontends.items():
            if frontend.alarm is not None:
                frontend.alarm(name in attacked)

    def _changed(self, change: AlertChange) -> None:
        """Add an event for an alert that starts or ends."""
        alert = change.alert
        finding = alert.finding
        text = finding.text if change.fired else f"over: {finding.text}"
        self._balancer.events.add(
            EventKind.ALERT if change.fired else EventKind.RECOVERED,
            alert.subject or "lbproxy",
            f"{alert.name}: {text}",
            finding.severity if change.fired else EventSeverity.INFO,
            name=alert.name,
            **finding.facts,
        )
        write = _log.warn if change.fired else _log.info
        write("alert {name}: {text}", name=alert.name, text=text)

    def tell(self, notice: Notice) -> None:
        """Send a notice to every destination, in the background."""
        for target in self._targets:
            if len(self._sending) >= IN_FLIGHT:
                self.failed += 1
                _quiet.warn("too many", "alerts: too many notices are being sent, one was dropped")
                continue
            sending = ensureDeferred(self._deliver(target, notice))
            self._sending.add(sending)
            sending.addBoth(self._done, sending)

    def _done(self, result: Any, sending: Deferred[Any]) -> None:
        self._sending.discard(sending)
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.failed += 1
            _quiet.failure("deliver", "alerts: a notice could not be sent", result)

    async def _deliver(self, target: Destination, notice: Notice) -> None:
        try:
            await target.deliver(notice)
        except NotifyError as error:
            self.failed += 1
            _quiet.warn(
                target.name,
                "alerts: {target}: {error}",
                target=target.name,
                error=mask_text(str(error)),
            )
        else:
            self.sent += 1
