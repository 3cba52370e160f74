"""CONTROL. ``lbproxy challenge``: check browsers, or stop doing so."""

from __future__ import annotations

from typing import Any

import click

from lbproxy.cli.base import main
from lbproxy.cli.remote import Remote, json_option, remote_options, show_json
from lbproxy.cli.tables import plain, show

__all__: list[str] = []


@main.group()
def challenge() -> None:
    """Check browsers while a site is under attack."""


@challenge.command(name="status")
@remote_options
@json_option
def challenge_status(remote: Remote, as_data: bool) -> None:
    """Show which frontends check browsers now.

    \b
    lbproxy challenge status
    """
    found = remote.ask("GET", "challenge")
    if as_data:
        show_json(found)
    else:
        _show(found)


@challenge.command(name="on")
@click.argument("frontend", default="")
@remote_options
def challenge_on(remote: Remote, frontend: str) -> None:
    """Check browsers from now on, at FRONTEND or at all of them.

    \b
    lbproxy challenge on web
    """
    _set(remote, "on", frontend)


@challenge.command(name="off")
@click.argument("frontend", default="")
@remote_options
def challenge_off(remote: Remote, frontend: str) -> None:
    """Check no browsers, whatever the configuration says.

    \b
    lbproxy challenge off web
    """
    _set(remote, "off", frontend)


@challenge.command(name="auto")
@click.argument("frontend", default="")
@remote_options
def challenge_auto(remote: Remote, frontend: str) -> None:
    """Follow the configuration again.

    \b
    lbproxy challenge auto web
    """
    _set(remote, "auto", frontend)


def _set(remote: Remote, setting: str, frontend: str) -> None:
    body = {"setting": setting, **({"frontend": frontend} if frontend else {})}
    _show(remote.ask("POST", "challenge", body))


def _show(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            plain(one["frontend"]),
            one["configured"],
            one["setting"],
            "yes" if one["attack"] else "no",
            "on" if one["active"] else "off",
        )
        for one in found
    ]
    show(("frontend", "configured", "set", "attack", "challenge"), rows)
