"""CONTROL. ``lbproxy challenge``: switches the check of browsers on or off."""

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


def _setting(setting: str, text: str, example: str) -> None:
    """Add the command that sets ``setting``; ``text`` is its help."""

    @challenge.command(name=setting, help=f"{text}\n\n\b\nlbproxy challenge {example}")
    @click.argument("frontend", default="")
    @remote_options
    def command(remote: Remote, frontend: str) -> None:
        body = {"setting": setting, **({"frontend": frontend} if frontend else {})}
        _show(remote.ask("POST", "challenge", body))


_setting("on", "Check browsers from now on, at FRONTEND or at all frontends.", "on web")
_setting("off", "Check no browsers, regardless of the configuration.", "off web")
_setting("auto", "Follow the configuration again.", "auto web")


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
