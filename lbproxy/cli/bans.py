"""CONTROL. ``lbproxy bans``: show, explain and change bans of client addresses."""

from __future__ import annotations

import json
import time
from typing import IO, Any

import click

from lbproxy.cli.base import count, main, stop
from lbproxy.cli.remote import Remote, json_option, remote_options, show_json
from lbproxy.cli.tables import plain, show, since
from lbproxy.config.errors import Unfit
from lbproxy.config.units import parse

__all__: list[str] = []

_AT_ONCE = 1000  # maximum number of bans in one request

_ban_option = click.option(
    "--ban", "name", default="", help="Name of the [ban NAME] section, if there are several."
)


@main.group()
def bans() -> None:
    """List, add and remove bans of client addresses."""


@bans.command(name="list")
@remote_options
@json_option
def list_bans(remote: Remote, as_data: bool) -> None:
    """List the bans in force, newest first.

    \b
    lbproxy bans list
    """
    found = remote.all("bans")
    if as_data:
        show_json(found)
        return
    now = time.time()
    rows = [
        (
            one["address"],
            one["rule"],
            since(max(0.0, one["until"] - now)),
            one["times"],
            one["refused"],
            plain(one["reason"]),
        )
        for one in found
    ]
    show(("address", "ban", "left", "times", "refused", "reason"), rows)


@bans.command()
@click.argument("address")
@_ban_option
@click.option(
    "--time", "duration", default="", help="Length of the ban, such as 1h. Default: as configured."
)
@click.option("--reason", default="", help="Reason shown by list and why.")
@remote_options
def add(remote: Remote, address: str, name: str, duration: str, reason: str) -> None:
    """Ban an address; for an IPv6 address, its /64 network.

    \b
    lbproxy bans add 203.0.113.9 --time 1d --reason "scraper"
    """
    body: dict[str, Any] = {"address": address}
    if name:
        body["ban"] = name
    if reason:
        body["reason"] = reason
    if duration:
        try:
            body["seconds"] = int(parse("duration", duration, {"min": 1, "max": 366 * 86400.0}))
        except Unfit as error:
            stop(f"--time: {error}")
    made = remote.ask("POST", "bans/add", body)
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made["until"]))
    click.echo(f"{made['address']} is banned by {made['rule']} until {until}")


@bans.command()
@click.argument("address")
@_ban_option
@remote_options
def remove(remote: Remote, address: str, name: str) -> None:
    """Lift the ban of an address and forget its history.

    \b
    lbproxy bans remove 203.0.113.9
    """
    body = {"address": address, **({"ban": name} if name else {})}
    removed = remote.ask("POST", "bans/remove", body)["removed"]
    if not removed:
        stop(f"{address} is not banned")
    click.echo(f"{address} is no longer banned by {', '.join(removed)}")


@bans.command()
@remote_options
def export(remote: Remote) -> None:
    """Print the bans in force as JSON, for `lbproxy bans import`.

    \b
    lbproxy bans export > bans.json
    """
    show_json({"bans": remote.all("bans")})


@bans.command(name="import")
@click.argument("file", type=click.File("r"))
@remote_options
def import_bans(remote: Remote, file: IO[str]) -> None:
    """Add the bans from a file written by `lbproxy bans export`.

    \b
    lbproxy bans import bans.json
    """
    try:
        found = json.load(file)["bans"]
        chunks = [found[at : at + _AT_ONCE] for at in range(0, len(found), _AT_ONCE)]
    except (ValueError, KeyError, TypeError) as error:
        stop(f"the file was not written by `lbproxy bans export`: {error}")
    entered = sum(remote.ask("POST", "bans/import", {"bans": one})["entered"] for one in chunks)
    click.echo(f"{count(entered, 'ban')} entered")


@bans.command()
@click.argument("address")
@remote_options
@json_option
def why(remote: Remote, address: str, as_data: bool) -> None:
    """Show whether an address is banned, why, and what counts against it.

    \b
    lbproxy bans why 203.0.113.9
    """
    found = remote.get("bans/why", address=address)
    if as_data:
        show_json(found)
        return
    if not found["bans"]:
        stop("no frontend has 'bans'")
    for one in found["bans"]:
        _explain(found["address"], one)


def _explain(address: str, one: dict[str, Any]) -> None:
    word = "banned" if one["banned"] else "exempt" if one["exempt"] else "not banned"
    click.echo(f"{address} is {word} by {one['name']} ({', '.join(one['frontends'])})")
    if one["after"]:
        span = since(one["seconds"])
        click.echo(f"  offences  {one['offences']} of {one['after']} in {span}")
    for last in one["last"]:
        times = [
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last[key]))
            for key in ("since", "until")
        ]
        click.echo(f"  {'ban' if one['banned'] else 'last ban':8}  {times[0]} to {times[1]}")
        click.echo(plain(f"  reason    {last['reason']}"))
        if last["request"]:
            click.echo(plain(f"  request   {last['request']}"))
        click.echo(f"  times     {last['times']} in a row, {last['refused']} attempts refused")
