"""CONTROL. Commands that change a running lbproxy, such as drain, weight and rebalance."""

from __future__ import annotations

import secrets
import sys
import time
from hashlib import sha256
from typing import Any

import click

from lbproxy.cli.base import count, main, stop
from lbproxy.cli.parameters import chosen, duration, server_path, target
from lbproxy.cli.remote import REFUSED, Remote, json_option, remote_options, show_json

__all__ = ["drain"]

_PIECE = 2.0  # maximum wait per request in seconds; progress is shown between two requests

Name = tuple[str, str]


def _change(remote: Remote, names: tuple[Name, ...], **change: Any) -> list[dict[str, Any]]:
    return [remote.ask("PATCH", server_path(name), change) for name in names]


def _said(as_data: bool, answers: list[dict[str, Any]], text: str, then: str = "") -> None:
    """Print the result for each server, and the next step."""
    if as_data:
        show_json(answers)
        return
    for one in answers:
        name = f"{one['backend']}/{one['name']}"
        click.echo(f"{name}: {text.format(**one, name_=name)}")
    if then:
        click.echo(then)


@main.command()
@click.argument("servers", type=target, nargs=-1, required=True)
@click.option("--wait", type=duration, help="Wait until no session is left, at most this long.")
@remote_options
@json_option
def drain(remote: Remote, servers: tuple[Name, ...], wait: float | None, as_data: bool) -> None:
    """Stop new traffic to servers; running sessions may finish.

    \b
    lbproxy drain app/b
    lbproxy drain app/b app/c --wait 60s && restart-them

    Exit status 1 if sessions are left after --wait.
    """
    _change(remote, servers, admin="drain")
    found = [_wait(remote, name, wait, as_data) for name in servers]
    if as_data:
        show_json(found)
    else:
        for one in found:
            _drained(one, wait)
    left = wait is not None and any(not one["done"] for one in found)
    sys.exit(REFUSED if left else 0)


def _wait(remote: Remote, name: Name, wait: float | None, as_data: bool) -> dict[str, Any]:
    path = f"{server_path(name)}/drain"
    found: dict[str, Any] = remote.get(path)
    end = time.monotonic() + (wait or 0.0)
    while wait is not None and not found["done"] and (left := end - time.monotonic()) > 0:
        if not as_data and sys.stderr.isatty():
            click.echo(f"{'/'.join(name)}: {count(found['sessions'], 'session')} left", err=True)
        piece = max(1, int(min(left, _PIECE)))
        found = remote.ask("POST", f"{path}/wait", {"timeout_s": piece}, timeout=piece + 10)
        if found["state"] not in ("drain", "maint"):
            stop(f"{'/'.join(name)} is {found['state']} again: the change was reverted", REFUSED)
    return found


def _drained(one: dict[str, Any], wait: float | None) -> None:
    name = f"{one['backend']}/{one['server']}"
    if one["done"]:
        click.echo(
            f"{name}: drained, no sessions left. To return it to service: lbproxy ready {name}"
        )
        return
    left = count(one["sessions"], "session")
    if wait is None:
        click.echo(
            f"{name}: no new traffic, {left} left. Wait: lbproxy drain {name} --wait 60s; "
            f"back: lbproxy ready {name}"
        )
    else:
        click.echo(f"{name}: {left} left after {wait:g} s. To end them: lbproxy kill {name}")


@main.command()
@click.argument("servers", type=target, nargs=-1, required=True)
@remote_options
@json_option
def maint(remote: Remote, servers: tuple[Name, ...], as_data: bool) -> None:
    """Stop new traffic and health checks of servers.

    \b
    lbproxy maint app/b
    """
    found = _change(remote, servers, admin="maint")
    _said(as_data, found, "in maintenance, {active} active. Back to work: lbproxy ready {name_}")


@main.command()
@click.argument("servers", type=target, nargs=-1, required=True)
@remote_options
@json_option
def ready(remote: Remote, servers: tuple[Name, ...], as_data: bool) -> None:
    """Return servers to service after drain or maint; health checks decide again.

    \b
    lbproxy ready app/b app/c
    """
    _said(as_data, _change(remote, servers, admin="ready"), "ready, and now {state}")


@main.command()
@click.argument("server", type=target)
@click.argument("weight", type=click.IntRange(0, 1_000_000))
@remote_options
@json_option
def weight(remote: Remote, server: Name, weight: int, as_data: bool) -> None:
    """Set a server's share of the traffic; 0: no new traffic.

    \b
    lbproxy weight app/b 5
    """
    _said(as_data, _change(remote, (server,), weight=weight), "weight {weight}")


@main.command()
@click.argument("server", type=target)
@click.argument("limit", type=click.IntRange(0, 10_000_000))
@remote_options
@json_option
def maxconn(remote: Remote, server: Name, limit: int, as_data: bool) -> None:
    """Set the limit of concurrent requests or connections of a server; 0: no limit.

    \b
    lbproxy maxconn app/b 200
    """
    found = _change(remote, (server,), maxconn=limit)
    _said(as_data, found, "maxconn {maxconn}, {active} active")


@main.group()
def server() -> None:
    """Add and remove servers while lbproxy runs."""


@server.command("add")
@click.argument("backend")
@click.argument("line", nargs=-1, required=True, metavar="NAME ADDRESS [OPTIONS]...")
@remote_options
@json_option
def server_add(remote: Remote, backend: str, line: tuple[str, ...], as_data: bool) -> None:
    """Add a server to BACKEND, written as in its `servers`.

    \b
    lbproxy server add app c 10.0.0.13:8000 weight=2
    lbproxy server add app 'd 10.0.0.14:8000 tls sni=app.internal'
    """
    found = remote.ask("POST", f"backends/{backend}/servers", {"server": " ".join(line)})
    _said(as_data, [found], "added at {address}, weight {weight}, {state}")


@server.command("remove")
@click.argument("which", type=target)
@remote_options
@json_option
def server_remove(remote: Remote, which: Name, as_data: bool) -> None:
    """Remove a server; its running sessions finish.

    \b
    lbproxy drain app/c --wait 60s; lbproxy server remove app/c
    """
    found = remote.ask("DELETE", server_path(which))
    if as_data:
        show_json(found)
    else:
        left = f", {count(found['sessions'], 'session')} left on it" if found["sessions"] else ""
        click.echo(f"{found['removed']}: removed{left}")


@main.command()
@click.argument("which", type=target, required=False)
@click.option(
    "--session", metavar="ID", help="Only this session, with the ID from `lbproxy sessions`."
)
@remote_options
@json_option
def kill(remote: Remote, which: Name | None, session: str | None, as_data: bool) -> None:
    """End the sessions of a server, or one session.

    \b
    lbproxy kill app/b
    lbproxy kill --session 7f21c8-5d1a

    A ready server receives new traffic at once: drain it first.
    """
    if (which is None) == (session is None):
        stop("specify what to end: BACKEND/SERVER, or --session ID")
    if session is not None:
        found = remote.ask("DELETE", f"sessions/{session}")
    else:
        assert which is not None
        found = remote.ask("POST", f"{server_path(which)}/kill")
    if as_data:
        show_json(found)
    else:
        click.echo(f"{count(found['killed'], 'session')} ended")


@main.command()
@click.argument("backend")
@remote_options
@json_option
def rebalance(remote: Remote, backend: str, as_data: bool) -> None:
    """Move long-lived sessions of BACKEND from overloaded servers to the others, at its `rate`.

    \b
    lbproxy rebalance app

    lbproxy does it automatically when servers are added or weights change. BACKEND needs a
    `rebalance` line.
    """
    found = remote.ask("POST", f"backends/{backend}/rebalance")
    if as_data:
        show_json(found)
        return
    for name, moves in sorted(found["moves"].items()):
        click.echo(f"{backend}/{name}: {count(moves, 'session')} to move")
    if not found["moves"]:
        click.echo(f"{backend}: balanced, nothing to move")


@main.group()
def state() -> None:
    """Manage run-time changes; `lbproxy drift` shows them."""


@state.command("reset")
@click.argument(
    "which", required=False, type=chosen, default=("", ""), metavar="[BACKEND[/SERVER]]"
)
@remote_options
@json_option
def state_reset(remote: Remote, which: Name, as_data: bool) -> None:
    """Undo run-time changes: servers are as configured again.

    \b
    lbproxy state reset
    lbproxy state reset app/b
    """
    backend, name = which
    found = remote.ask("DELETE", "drift", backend=backend or None, server=name or None)
    if as_data:
        show_json(found)
        return
    for one in found["undone"]:
        click.echo(f"undone: {one['text']}")
    if not found["undone"]:
        click.echo("nothing to undo: running as configured")


@main.command()
@click.option("--dry-run", is_flag=True, help="Only report what would change.")
@remote_options
@json_option
def reload(remote: Remote, dry_run: bool, as_data: bool) -> None:
    """Make lbproxy read and apply its configuration again without dropping connections.

    \b
    lbproxy reload --dry-run
    lbproxy reload

    Exit status 1, and nothing changes, if the configuration is wrong.
    """
    found = remote.ask("POST", "reload", timeout=60.0, dry_run=str(dry_run).lower())
    if as_data:
        show_json(found)
    else:
        click.echo(found["text"], err=not found["ok"])
        if dry_run and found["ok"]:
            click.echo("to apply: lbproxy reload")
    sys.exit(0 if found["ok"] else REFUSED)


@main.command()
@remote_options
@json_option
def upgrade(remote: Remote, as_data: bool) -> None:
    """Replace the running process with the currently installed lbproxy.

    The old process drains and exits.

    \b
    pip install --upgrade lbproxy && lbproxy upgrade

    No connection is refused. Exit status 1, and the running process continues, if the new one
    does not serve.
    """
    found = remote.ask("POST", "upgrade", timeout=60.0)
    if as_data:
        show_json(found)
    else:
        click.echo(found["summary"], err=not found["ok"])
    sys.exit(0 if found["ok"] else REFUSED)


@main.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["read", "write"]),
    default="read",
    show_default=True,
    help="Role of the token.",
)
def token(name: str, role: str) -> None:
    """Generate a token for the admin API, and its line for the admin_tokens file.

    \b
    lbproxy token grafana
    lbproxy token alice --role write
    """
    made = secrets.token_urlsafe(24)
    click.echo(f"the token, for {name} only:\n    {made}")
    digest = sha256(made.encode()).hexdigest()
    click.echo(f"the line, for the token file:\n    {role} {name} sha256:{digest}")
