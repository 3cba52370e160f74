"""CONTROL. ``lbproxy lists``: show, query and change lists of addresses."""

from __future__ import annotations

from urllib.parse import quote

import click

from lbproxy.cli.base import main
from lbproxy.cli.remote import Remote, json_option, remote_options, show_json
from lbproxy.cli.tables import bytes_, plain, show

__all__: list[str] = []


@main.group()
def lists() -> None:
    """Show and edit lists of addresses."""


@lists.command(name="show")
@remote_options
@json_option
def show_lists(remote: Remote, as_data: bool) -> None:
    """Show the lists and the changes made by operators.

    \b
    lbproxy lists show
    """
    found = remote.ask("GET", "lists")
    if as_data:
        show_json(found)
        return
    rows = [
        (
            one["name"],
            one["ranges"],
            bytes_(one["bytes"]),
            plain(" ".join([*("+" + a for a in one["added"]), *("-" + a for a in one["removed"])])),
            plain(one["error"]),
        )
        for one in found
    ]
    show(("list", "ranges", "bytes", "changes", "error"), rows)


@lists.command()
@click.argument("name")
@click.argument("address")
@remote_options
def contains(remote: Remote, name: str, address: str) -> None:
    """Check whether a list contains an address.

    \b
    lbproxy lists contains office 10.0.0.7
    """
    found = remote.ask("GET", f"lists/{quote(name, safe='')}/contains", address=address)
    click.echo(f"{address} is {'in' if found['contains'] else 'not in'} {name}")


@lists.command()
@click.argument("name")
@click.argument("address")
@remote_options
def add(remote: Remote, name: str, address: str) -> None:
    """Add an address, a prefix or a range.

    \b
    lbproxy lists add badnets 192.0.2.0/24
    """
    remote.ask("POST", f"lists/{quote(name, safe='')}/add", {"address": address})
    click.echo(f"{name}: added {address}")


@lists.command()
@click.argument("name")
@click.argument("address")
@remote_options
def remove(remote: Remote, name: str, address: str) -> None:
    """Remove an address, a prefix or a range.

    \b
    lbproxy lists remove badnets 192.0.2.7
    """
    remote.ask("POST", f"lists/{quote(name, safe='')}/remove", {"address": address})
    click.echo(f"{name}: removed {address}")
