"""CONTROL. Commands that serve: demo, run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lbproxy.cli.base import FILE, load, main


@main.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65000),
    default=8080,
    show_default=True,
    help="First port (HTTP, HTTPS and TCP follow); 0: any free ports.",
)
def demo(port: int) -> None:
    """Run a complete example: origins, HTTP, HTTPS and TCP frontends. Needs no configuration."""
    from lbproxy.cli.demo import run_demo

    sys.exit(run_demo(port))


@main.command()
@click.argument("config", type=FILE)
def run(config: Path) -> None:
    """Serve CONFIG in the foreground until Ctrl-C. Messages go to standard error.

    `twistd lbproxy --config CONFIG` does the same as a daemon.
    """
    from lbproxy.cli.foreground import main as foreground
    from lbproxy.registry import load_config, refuse_nothing

    load(config, lambda path: refuse_nothing(load_config(path)))
    sys.argv = ["lbproxy", "-n", "--pidfile=", "lbproxy", "--config", str(config)]
    foreground()
