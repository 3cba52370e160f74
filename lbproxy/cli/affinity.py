"""CONTROL. Commands about sticky sessions and mirrors: sticky, mirror."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from lbproxy.cli.base import count, main, stop
from lbproxy.cli.parameters import chosen
from lbproxy.cli.remote import Remote, json_option, remote_options, show_json
from lbproxy.cli.tables import plain, show, since

__all__: list[str] = []


@main.command()
@click.argument("which", type=chosen, metavar="BACKEND[/SERVER]")
@click.option("--forget", is_flag=True, help="Forget the clients of the backend, or of the server.")
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Maximum number of clients to show.",
)
@remote_options
@json_option
def sticky(remote: Remote, which: tuple[str, str], forget: bool, limit: int, as_data: bool) -> None:
    """Show which client belongs to which server, the most recent first; or forget clients.

    \b
    lbproxy sticky app
    lbproxy sticky app/b --forget

    Forgotten clients are balanced like new ones; their running requests continue. Keys that may be
    secrets are shown as digests.
    """
    backend, server = which
    path = f"backends/{quote(backend, safe='')}/sticky"
    if forget:
        found = remote.ask("DELETE", path, server=server or None)
        if as_data:
            show_json(found)
        else:
            name = f"{backend}/{server}" if server else backend
            click.echo(f"{name}: {count(found['forgotten'], 'client')} forgotten")
        return
    if server:
        stop("a table can only be shown as a whole: give BACKEND, or add --forget")
    found = remote.get(path, limit=limit)
    if as_data:
        show_json(found)
    else:
        _sticky(backend, found)


def _sticky(backend: str, found: dict[str, Any]) -> None:
    table = found["table"]
    known = f"{table['entries']} of at most {table['size']} clients known" if table else "no table"
    click.echo(
        f"{backend}: {found['kind']}, {known}; "
        f"{found['kept']} kept, {found['moved']} moved, {found['lent']} lent"
    )
    if found["items"]:
        click.echo()
        show(
            ("CLIENT", "SERVER", "LEFT"),
            [(plain(one["key"]), one["server"], since(one["expires_s"])) for one in found["items"]],
        )
    if found["more"]:
        click.echo(f"and more; the limit is {len(found['items'])}")


@main.command()
@click.argument("backend")
@remote_options
@json_option
def mirror(remote: Remote, backend: str, as_data: bool) -> None:
    """Show how many requests BACKEND copied to its mirror, and the last responses that differed.

    \b
    lbproxy mirror app
    lbproxy mirror app --json | jq '.differences[].path'
    """
    found = remote.get(f"backends/{quote(backend, safe='')}/mirror")
    if as_data:
        show_json(found)
        return
    click.echo(
        f"{backend} -> {found['backend']}: {found['copied']} copied, {found['failed']} failed, "
        f"{found['same']} same, {found['different']} different; "
        f"not copied: {found['busy']} too many at once, {found['too_large']} too large"
    )
    if found["differences"]:
        click.echo()
        show(
            ("AGO", "METHOD", "PATH", "SERVER", "COPY", "WHAT"),
            [
                (
                    since(one["age_s"]),
                    one["method"],
                    plain(one["path"]),
                    one["server"],
                    one["copy_server"],
                    plain(", ".join(one["what"])),
                )
                for one in found["differences"]
            ],
        )
