"""CONTROL. ``lbproxy tracks``: show, set and clear counts per key."""

from __future__ import annotations

from urllib.parse import quote

import click

from lbproxy.cli.base import count, main
from lbproxy.cli.remote import Remote, json_option, remote_options, show_json
from lbproxy.cli.tables import plain, show, since

__all__: list[str] = []

_SHOWN = 100


@main.group()
def tracks() -> None:
    """Show and change counts per key."""


@tracks.command(name="list")
@remote_options
@json_option
def list_tracks(remote: Remote, as_data: bool) -> None:
    """Show the tracks.

    \b
    lbproxy tracks list
    """
    found = remote.ask("GET", "tracks")
    if as_data:
        show_json(found)
        return
    rows = [
        (one["name"], one["count"], one["key"], since(one["window"]), one["keys"]) for one in found
    ]
    show(("track", "counts", "key", "window", "keys"), rows)


@tracks.command(name="show")
@click.argument("name")
@click.argument("key", default="")
@remote_options
@json_option
def show_track(remote: Remote, name: str, key: str, as_data: bool) -> None:
    """Show the highest counts of a track, or the count of KEY.

    \b
    lbproxy tracks show bad
    lbproxy tracks show bad 203.0.113.9
    """
    query = {"key": key} if key else {}
    found = remote.all(f"tracks/{quote(name, safe='')}", _SHOWN, **query)
    if as_data:
        show_json(found)
        return
    show(("key", "count"), [(plain(one["key"]), f"{one['count']:g}") for one in found])


@tracks.command(name="set")
@click.argument("name")
@click.argument("key")
@click.argument("number", type=click.IntRange(0))
@remote_options
def set_count(remote: Remote, name: str, key: str, number: int) -> None:
    """Set the count of KEY, for a window that starts now.

    \b lbproxy tracks set bad 203.0.113.9 100
    """
    made = remote.ask("POST", f"tracks/{quote(name, safe='')}/set", {"key": key, "count": number})
    click.echo(plain(f"{name}: {made['key']} is {made['count']:g}"))


@tracks.command()
@click.argument("name")
@click.argument("key", default="")
@remote_options
def clear(remote: Remote, name: str, key: str) -> None:
    """Reset the count of KEY, or of all keys shown.

    \b
    lbproxy tracks clear bad 203.0.113.9
    """
    path = f"tracks/{quote(name, safe='')}"
    if key:
        remote.ask("POST", f"{path}/set", {"key": key, "count": 0})
        click.echo(plain(f"{name}: {key} is cleared"))
    else:
        cleared = remote.ask("POST", f"{path}/clear")["cleared"]
        click.echo(f"{name}: {count(cleared, 'key')} cleared")
