"""CONTROL. ``lbproxy alert``: tests the destinations of alerts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from lbproxy.cli.base import FILE, load, main, stop
from lbproxy.config.model import AlertsSpec
from lbproxy.observe.alerts import Alert, Finding
from lbproxy.observe.events import EventSeverity
from lbproxy.observe.notices import Notice, NoticeLine

__all__ = ["alert"]


@main.group()
def alert() -> None:
    """Test alerts and their destinations."""


@alert.command("test")
@click.argument("config", type=FILE)
def alert_test(config: Path) -> None:
    """Send a test notice to every destination in [alerts] of CONFIG.

    \b
    lbproxy alert test lb.ini

    Exit status 0 if all destinations accepted it, else 1.
    """
    spec = load(config).alerts
    if not (spec.webhooks or spec.mails or spec.commands):
        stop(f"{config}: [alerts] names no webhooks, mails or commands")
    failures = _send(spec)
    sys.exit(1 if failures else 0)


def _send(spec: AlertsSpec) -> int:
    """Return the number of destinations that did not accept the notice."""
    from twisted.internet import task
    from twisted.internet.defer import Deferred

    from lbproxy.alerts.notify import NotifyError, targets

    finding = Finding("test", "this is a test of lbproxy's alerts", EventSeverity.WARNING)
    notice = Notice((NoticeLine("firing", Alert("test", finding, 0.0)),))
    failures = 0

    async def send(reactor: Any) -> None:
        nonlocal failures
        for target in targets(spec, reactor):
            try:
                await target.deliver(notice)
            except NotifyError as error:
                failures += 1
                click.echo(f"{target.name}: {error}", err=True)
            else:
                click.echo(f"{target.name}: delivered")

    def begin(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(send(reactor))

    try:
        task.react(begin)
    except SystemExit as end:
        if end.code:
            raise
    return failures
