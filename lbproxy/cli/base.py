"""CONTROL. The command itself, and common functions of its subcommands."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from lbproxy import __version__, compiled

if TYPE_CHECKING:
    from lbproxy.model import Config

__all__ = ["COMMANDS", "FILE", "count", "load", "main", "stop"]

FILE = click.Path(dir_okay=False, path_type=Path)
"""The parameter type of a configuration file. :func:`load` reports its errors."""


COMMANDS: dict[str, tuple[str, ...]] = {
    "affinity": ("sticky", "mirror"),
    "alert": ("alert",),
    "bans": ("bans",),
    "cache": ("cache",),
    "challenge": ("challenge",),
    "change": (
        *("drain", "maint", "ready", "weight", "maxconn", "server", "kill", "rebalance"),
        *("state", "reload", "upgrade", "token"),
    ),
    "completion": ("completion",),
    "follow": ("events", "logs", "metrics"),
    "keys": ("keys",),
    "lists": ("lists",),
    "offline": ("check", "config", "explain"),
    "replay": ("replay",),
    "serve": ("demo", "run"),
    "show": ("status", "servers", "sessions", "certificates", "drift"),
    "top": ("top",),
    "tracks": ("tracks",),
    "why": ("why",),
}
"""The module of :mod:`lbproxy.cli` with each command.

A module is imported when its command is used.
"""


@contextmanager
def _without_collector() -> Iterator[None]:
    """Disable the garbage collector. Imports create objects that stay, and examining them would
    take a seventh of the time of a short command.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


class _Commands(click.Group):
    """Imports the module of a command when the command is used, because most of the start-up time
    is imports.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See :class:`click.Group`."""
        for module, names in COMMANDS.items():
            if cmd_name in names:
                with _without_collector():
                    import_module(f"lbproxy.cli.{module}")
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See :class:`click.Group`."""
        return sorted(name for names in COMMANDS.values() for name in names)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"lbproxy %(version)s ({compiled.running()})")
def main() -> None:
    """A TCP and HTTP load balancer and reverse proxy.

    Try `lbproxy demo` first. Then write an lb.ini, run `lbproxy check lb.ini` and
    `lbproxy run lb.ini`.
    """


def load(path: Path, read: Callable[[Path], Config] | None = None, *, status: int = 1) -> Config:
    """Return the configuration, or print every error on standard error and exit with ``status``."""
    from lbproxy.config.errors import ConfigErrors
    from lbproxy.registry import load_config

    try:
        with _without_collector():
            return (read or load_config)(path)
    except ConfigErrors as errors:
        click.echo(str(errors), err=True)
        click.echo(f"{path}: {count(len(errors.errors), 'error')}", err=True)
        sys.exit(status)


def count(number: int, what: str) -> str:
    """Return a number with its noun: ``3 servers``, ``1 server``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def stop(message: str, status: int = 2) -> NoReturn:
    """Print a message on standard error and exit."""
    click.echo(f"lbproxy: {message}", err=True)
    sys.exit(status)
