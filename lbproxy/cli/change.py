"""CONTROL. Commands that change a running lbproxy: drain, maint, ready, weight, maxconn, server, kill, rebalance..."""

from __future__ import annotations

import secrets
import sys
import time
from hashlib import sha256
from typing import Any

import click

from lbproxy.cli.base import count, main, stop
from lbproxy.cli.remote import (
    REFUSED,
    Remote,
    chosen,
    duration,
    json_option,
    remote_options,
    server_path,
    show_json,
    target,
)

__all__ = ["drain"]

_PIECE = 2.0  # seconds of one wait; between two of them progress is shown

Name = tuple[str, str]


def _change(remote: Remote, names: tuple[Name, ...], **change: Any) -> list[dict[str, Any]]:
    return [remote.ask("PATCH", server_path(name), change) for name in names]


def _said(as_data: bool, answers: list[dict[str, Any]], text: str, then: str = "") -> None:
    """Say what was done to each, and what to do next."""
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
@click.option("--wait", type=duration, help="Wait until nothing runs on them, at most so long.")
@remote_options
@json_option
def drain(remote: Remote, servers: tuple[Name, ...], wait: float | None, as_data: bool) -> None:
    """Give servers no new traffic; what runs on them may finish.

    \b
    lbproxy drain app/b
    lbproxy drain app/b app/c --wait 60s && restart-them

    Exit status 1 when something still runs after --wait.
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
            stop(f"{'/'.join(name)} is {found['state']} again: somebody took it back", REFUSED)
    return found


def _drained(one: dict[str, Any], wait: float | None) -> None:
    name = f"{one['backend']}/{one['server']}"
    if one["done"]:
        click.echo(f"{name}: drained, nothing runs on it. Back to work: lbproxy ready {name}")
        return
    left = count(one["sessions"], "session")
    if wait is None:
        click.echo(
            f"{name}: no new traffic, {left} left. Wait: lbproxy drain {name} --wait 60s; "
            f"back: lbproxy ready {name}"
        )
    else:
        click.echo(f"{name}: {left} left after {wait:g} s. End them: lbproxy kill {name}")


@main.command()
@click.argument("servers", type=target, nargs=-1, required=True)
@remote_options
@json_option
def maint(remote: Remote, servers: tuple[Name, ...], as_data: bool) -> None:
    """Give servers no new traffic and no health checks.

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
    """Put servers back to work after drain or maint; health checks decide from here.

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
    """Set a server's share of the traffic; 0 gives it no new one.

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
    """Set the most requests or connections that run on a server at once; 0: no limit.

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
    """Take a server out for good; what runs on it finishes.

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
@click.option("--session", metavar="ID", help="Only this one, as `lbproxy sessions` shows it.")
@remote_options
@json_option
def kill(remote: Remote, which: Name | None, session: str | None, as_data: bool) -> None:
    """End what runs on a server, or one session.

    \b
    lbproxy kill app/b
    lbproxy kill --session 7f21c8-5d1a

    New traffic goes on coming: drain the server first.
    """
    if (which is None) == (session is None):
        stop("say what: BACKEND/SERVER, or --session ID")
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
    """Move long-lived sessions of BACKEND from servers with too many to the others, a few at a time.

    \b
    lbproxy rebalance app

    By itself it happens when servers come or weights change. BACKEND has a `rebalance` line.
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
    """What was changed at run time; `lbproxy drift` shows it."""


@state.command("reset")
@click.argument(
    "which", required=False, type=chosen, default=("", ""), metavar="[BACKEND[/SERVER]]"
)
@remote_options
@json_option
def state_reset(remote: Remote, which: Name, as_data: bool) -> None:
    """Undo what was changed at run time: servers are as configured again.

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
        click.echo("nothing to undo: running is as configured")


@main.command()
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@remote_options
@json_option
def reload(remote: Remote, dry_run: bool, as_data: bool) -> None:
    """Let lbproxy read its configuration again, and serve it without dropping anything.

    \b
    lbproxy reload --dry-run
    lbproxy reload

    Exit status 1, and nothing is changed, when the configuration is wrong.
    """
    found = remote.ask("POST", "reload", timeout=60.0, dry_run=str(dry_run).lower())
    if as_data:
        show_json(found)
    else:
        click.echo(found["text"], err=not found["ok"])
        if dry_run and found["ok"]:
            click.echo("to do it: lbproxy reload")
    sys.exit(0 if found["ok"] else REFUSED)


@main.command()
@remote_options
@json_option
def upgrade(remote: Remote, as_data: bool) -> None:
    """Start lbproxy anew, as it is installed now, in the place of the running one, which drains and ends.

    \b
    pip install --upgrade lbproxy && lbproxy upgrade

    No connection is refused meanwhile.  Exit status 1, and the running one goes on, when the new one does not serve.
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
    help="Its role.",
)
def token(name: str, role: str) -> None:
    """Make a token for the admin API, and the line for the file that admin_tokens names.

    \b
    lbproxy token grafana
    lbproxy token alice --role write
    """
    made = secrets.token_urlsafe(24)
    click.echo(f"the token, for {name} and nobody else:\n    {made}")
    digest = sha256(made.encode()).hexdigest()
    click.echo(f"the line, for the token file:\n    {role} {name} sha256:{digest}")
