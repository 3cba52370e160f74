"""CONTROL. Commands that print reports of a running lbproxy: events, access logs, metrics."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from lbproxy.cli.base import main
from lbproxy.cli.remote import Remote, json_option, remote_options

__all__ = ["events", "logs", "metrics"]


@main.command()
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events as they occur.")
@click.option("--since", "number", default=0, help="Only events after this number.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Maximum number of past events.",
)
@remote_options
@json_option
def events(remote: Remote, follow: bool, number: int, limit: int, as_data: bool) -> None:
    """Show events: servers up and down, changes by operators, certificates, limits.

    \b
    lbproxy events
    lbproxy events --follow
    lbproxy events --since 120 --json
    """
    if not follow:
        for one in remote.get("events", since=number, limit=limit)["items"]:
            _event(one, as_data)
        return
    try:
        for line in remote.lines("events/stream", since=number, limit=limit):
            if line.startswith("data: "):
                _event(json.loads(line[6:]), as_data)
    except KeyboardInterrupt:
        return


def _event(one: dict[str, Any], as_data: bool) -> None:
    if as_data:
        click.echo(json.dumps(one))
        return
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["at"]))
    colour = {"warning": "yellow", "error": "red"}.get(one["severity"])
    click.echo(f"{one['number']:>6}  {at}  {click.style(one['text'], fg=colour)}")


@main.command()
@click.argument("frontend", required=False)
@click.option("--errors", is_flag=True, help="Only records of errors and failures.")
@remote_options
def logs(remote: Remote, frontend: str | None, errors: bool) -> None:
    """Follow the access log, one JSON record per line, whatever its format, and even if it is off.

    \b
    lbproxy logs
    lbproxy logs web --errors | jq .close

    At most 100 records a second are shown; the number of omitted ones is printed on standard error.
    """
    missed = False
    try:
        for line in remote.lines(
            "logs/stream", frontend=frontend, errors="true" if errors else None
        ):
            if line.startswith("event: "):
                missed = line == "event: missed"
            elif line.startswith("data: ") and missed:
                click.echo(f"{json.loads(line[6:])['records']} records omitted", err=True)
            elif line.startswith("data: "):
                click.echo(line[6:])
    except KeyboardInterrupt:
        return


@main.command()
@click.argument("prefix", default="")
@click.option("--openmetrics", is_flag=True, help="In the OpenMetrics format.")
@remote_options
def metrics(remote: Remote, prefix: str, openmetrics: bool) -> None:
    """Print the metrics as Prometheus receives them, or only those whose names begin with PREFIX.

    \b
    lbproxy metrics
    lbproxy metrics lbproxy_server_active
    """
    accept = "application/openmetrics-text" if openmetrics else ""
    text = remote.text("GET", "/metrics", accept=accept, timeout=60.0)
    if prefix:
        lines = [line for line in text.splitlines() if line.startswith(prefix)]
        text = "".join(f"{line}\n" for line in lines)
    click.echo(text, nl=False)
