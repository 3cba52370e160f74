"""CONTROL. The command itself, and what its subcommands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from lbproxy import __version__, compiled
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.model import Config
from lbproxy.registry import load_config

__all__ = ["FILE", "count", "load", "main", "stop"]

FILE = click.Path(dir_okay=False, path_type=Path)
"""A configuration file; :func:`load` says what is wrong with it."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"lbproxy %(version)s ({compiled.running()})")
def main() -> None:
    """A TCP and HTTP load balancer and reverse proxy.

    Try `lbproxy demo` first; then write an lb.ini, `lbproxy check lb.ini`, and `lbproxy run lb.ini`.
    """


def load(path: Path, read: Callable[[Path], Config] = load_config, *, status: int = 1) -> Config:
    """The configuration, or every error on standard error and exit status ``status``."""
    try:
        return read(path)
    except ConfigErrors as errors:
        click.echo(str(errors), err=True)
        click.echo(f"{path}: {count(len(errors.errors), 'error')}", err=True)
        sys.exit(status)


def count(number: int, what: str) -> str:
    """``3 servers``, ``1 server``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def stop(message: str, status: int = 2) -> NoReturn:
    """End with words on standard error."""
    click.echo(f"lbproxy: {message}", err=True)
    sys.exit(status)
