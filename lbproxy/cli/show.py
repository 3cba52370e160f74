"""CONTROL. Commands that show a running lbproxy: status, servers, sessions, certificates, drift."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from lbproxy.cli.base import count, main
from lbproxy.cli.parameters import chosen, server_path
from lbproxy.cli.remote import REFUSED, Remote, json_option, remote_options, show_json
from lbproxy.cli.tables import bytes_, plain, show, since, state

__all__ = ["show_drift", "status"]


@main.command()
@remote_options
@json_option
def status(remote: Remote, as_data: bool) -> None:
    """Show the state of a running lbproxy: frontends, backends, and what needs attention.

    \b
    lbproxy status -c lb.ini
    lbproxy status --admin unix:/run/lbproxy.sock --json | jq .backends

    Exit status 1 if a backend has no usable server.
    """
    found = remote.get("state")
    trouble = [name for name, one in found["backends"].items() if not one["eligible"]]
    if as_data:
        show_json(found)
    else:
        _status(found, trouble)
    sys.exit(REFUSED if trouble else 0)


def _status(found: dict[str, Any], trouble: list[str]) -> None:
    process = found["process"]
    age = since(found["at"] - process["started"])
    click.echo(
        f"lbproxy {process['version']}, pid {process['pid']}, up {age}, {process['config']}: "
        f"{process['connections']} of {process['maxconn']} connections, "
        f"{bytes_(process['resident_bytes'])} memory\n"
    )
    show(
        ("FRONTEND", "MODE", "CONNECTIONS", "REQUESTS", "5XX", "IN", "OUT", "LISTEN"),
        [
            (
                one["name"],
                one["mode"],
                one["active_connections"],
                one["requests"],
                one["responses"]["5xx"],
                bytes_(one["bytes_in"]),
                bytes_(one["bytes_out"]),
                " ".join(one["listen"]),
            )
            for one in found["frontends"].values()
        ],
    )
    click.echo()
    show(
        ("BACKEND", "BALANCE", "USABLE", "SERVERS", "ACTIVE", "WAITING", "RETRIES"),
        [
            (
                one["name"],
                one["balance"],
                one["usable"],
                one["servers"],
                one["active"],
                one["waiting"],
                one["retries"],
            )
            for one in found["backends"].values()
        ],
    )
    if trouble:
        click.echo(click.style(f"\nno usable server: {', '.join(trouble)}", fg="red"))
        click.echo(f"see: lbproxy servers {trouble[0]}")
    drifts = found["drift"]["count"]
    if drifts:
        click.echo(f"\n{count(drifts, 'difference')} from the configuration: lbproxy drift")
    if found["drift"]["error"]:
        click.echo(f"changes cannot be saved: {found['drift']['error']}")


@main.command()
@click.argument(
    "which", required=False, type=chosen, default=("", ""), metavar="[BACKEND[/SERVER]]"
)
@click.option(
    "--state",
    "wanted",
    type=click.Choice(["up", "down", "drain", "maint"]),
    help="Only servers in this state.",
)
@remote_options
@json_option
def servers(remote: Remote, which: tuple[str, str], wanted: str | None, as_data: bool) -> None:
    """List servers: state, load, result of the last check.

    \b
    lbproxy servers
    lbproxy servers app
    lbproxy servers app/b --json
    lbproxy servers --state down

    Exit status 1 if a server given by name is not up.
    """
    backend, server = which
    if server:
        found = [remote.get(server_path(which))]
    else:
        found = remote.all("servers", backend=backend or None, state=wanted)
    if as_data:
        show_json(found[0] if server else found)
    elif found:
        _servers(found)
    else:
        click.echo(f"no server is in the state {wanted}" if wanted else "no servers")
    sys.exit(REFUSED if server and found[0]["state"] != "up" else 0)


def weight_of(server: dict[str, Any]) -> str:
    """Return a server's weight, with the share that slow start or its agent leaves: ``4 (75%)``."""
    weight, share = server["weight"], server.get("share", 1.0)
    return str(weight) if share == 1.0 else f"{weight} ({share:.0%})"


def _servers(found: list[dict[str, Any]]) -> None:
    """Print a table. The origin of servers is shown if some do not come from the configuration."""
    strange = any(one["origin"] != "config" for one in found)
    show(
        (
            "SERVER",
            "STATE",
            "FOR",
            "WEIGHT",
            "ACTIVE",
            "MAX",
            "PICKED",
            "FAILED",
            "ADDRESS",
            *(("ORIGIN",) if strange else ()),
            "NOTE",
        ),
        [
            (
                f"{one['backend']}/{one['name']}",
                state(one["state"]) + (" (backup)" if one["backup"] else ""),
                since(one["since_s"]),
                weight_of(one),
                one["active"],
                one["maxconn"] or "-",
                one["picked"],
                one["failed"],
                _address(one),
                *((one["origin"],) if strange else ()),
                one["note"],
            )
            for one in found
        ],
    )


def _address(one: dict[str, Any]) -> str:
    """Return the address as configured, and the addresses of a name without those that fail
    checks.
    """
    resolved = [address for address in one["addresses"] if address != one["address"]]
    if not resolved:
        return str(one["address"])
    port = ":" + str(one["address"]).rpartition(":")[2]
    failing = one.get("unusable", ())
    texts = [
        address.removesuffix(port) + (" (fails)" if address in failing else "")
        for address in resolved
    ]
    return f"{one['address']} ({', '.join(texts)})"


@main.command()
@click.argument(
    "which", required=False, type=chosen, default=("", ""), metavar="[BACKEND[/SERVER]]"
)
@click.option("--client", help="Only sessions of this client address.")
@click.option("--frontend", help="Only sessions of this frontend.")
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Maximum number of clients to show.",
)
@remote_options
@json_option
def sessions(
    remote: Remote,
    which: tuple[str, str],
    client: str | None,
    frontend: str | None,
    limit: int,
    as_data: bool,
) -> None:
    """List running TCP sessions, tunnels and requests, the oldest first on each server.

    \b
    lbproxy sessions app/b
    lbproxy sessions --client 203.0.113.9 --json

    To end one: lbproxy kill --session ID
    """
    backend, server = which
    found = remote.get(
        "sessions",
        backend=backend or None,
        server=server or None,
        client=client,
        frontend=frontend,
        limit=limit,
    )
    if as_data:
        show_json(found)
        return
    if not found["items"]:
        click.echo("no sessions")
        return
    show(
        ("ID", "CLIENT", "FRONTEND", "SERVER", "KIND", "AGE", "IN", "OUT", "REQUEST"),
        [
            (
                one["id"],
                one["client_ip"] or "unix",
                one["frontend"],
                f"{one['backend']}/{one['server']}",
                one["kind"],
                since(one["age_s"]),
                bytes_(one["bytes_in"]),
                bytes_(one["bytes_out"]),
                plain(one["request"]),
            )
            for one in found["items"]
        ],
    )
    if found["more"]:
        click.echo(f"and more; the limit is {limit}")


@main.command()
@click.option("--days", type=int, help="Exit with status 1 if one expires within this many days.")
@remote_options
@json_option
def certificates(remote: Remote, days: int | None, as_data: bool) -> None:
    """List the certificates of the listeners, the first to expire first.

    \b
    lbproxy certificates
    lbproxy certificates --days 14 || mail -s 'certificates end' ops < /dev/null
    """
    found = remote.all("certificates")
    if as_data:
        show_json(found)
    elif not found:
        click.echo("no listener has TLS")
    else:
        show(
            ("DAYS LEFT", "ENDS", "NAMES", "FILE"),
            [
                (
                    one["days_left"],
                    time.strftime("%Y-%m-%d %H:%M", time.localtime(one["expires"])),
                    " ".join(one["names"]),
                    one["source"],
                )
                for one in found
            ],
        )
    late = days is not None and any(one["days_left"] < days for one in found)
    sys.exit(REFUSED if late else 0)


@main.command()
@remote_options
@json_option
def drift(remote: Remote, as_data: bool) -> None:
    """Show run-time changes that differ from the configuration.

    \b
    lbproxy drift
    lbproxy drift --json

    Undo them with: lbproxy state reset. Exit status 1 if there is a difference.
    """
    found = remote.get("drift")
    if as_data:
        show_json(found)
    else:
        show_drift(found)
    sys.exit(REFUSED if found["items"] else 0)


def _show_advice(items: list[dict[str, Any]]) -> None:
    """Print the lines for the configuration; they can be pasted under ``servers``."""
    for backend in dict.fromkeys(one["backend"] for one in items):
        ours = [one for one in items if one["backend"] == backend]
        lines = dict.fromkeys(one["line"] for one in ours if one["line"])
        gone = [one["server"] for one in ours if one["what"] == "removed"]
        if lines or gone:
            click.echo(f"\nto make them permanent, change [backend {backend}]:")
        if lines:
            click.echo("    # under servers, replace the lines with the same names")
        for line in lines:
            click.echo(f"    {line}")
        for name in gone:
            click.echo(f"    # delete the line of {name}")


def show_drift(found: dict[str, Any]) -> None:
    """Print the differences and the commands to handle them."""
    items = found["items"]
    if not items:
        click.echo("no run-time changes: running as configured")
        return
    for one in items:
        click.echo(one["text"])
    _show_advice(items)
    click.echo("\nto undo the changes: lbproxy state reset")
    if found["file"] is None:
        click.echo("these changes are lost at a restart: [lbproxy] has no `state = FILE`")
