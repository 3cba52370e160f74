"""CONTROL. ``lbproxy replay``: decisions of another configuration about logged requests."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import click

from lbproxy.cli.base import FILE, load, main, stop
from lbproxy.cli.logfile import lines_of, opened

__all__ = ["replay_command"]


@main.command("replay")
@click.argument("log")
@click.option("--old", required=True, type=FILE, help="The old configuration.")
@click.option("--new", required=True, type=FILE, help="The new configuration.")
@click.option(
    "--host", default="localhost", show_default=True, help="Host for log lines without one."
)
@click.option("--frontend", default="", help="Frontend for log lines without one.")
@click.option("--json", "as_data", is_flag=True, help="Machine-readable result.")
def replay_command(log: str, old: Path, new: Path, host: str, frontend: str, as_data: bool) -> None:
    """Run the requests of an access log through two configurations, and print which decisions
    change.

    LOG has the format json, common or combined. It may be compressed (.gz), or - for standard
    input.

    Exit status 0 if nothing changes, 1 if something changes, 2 if replay cannot decide.
    """
    from lbproxy.cli.offline import decisions
    from lbproxy.decide.replay import replay
    from lbproxy.waf.engine import MissingEngine

    before, after = load(old, decisions, status=2), load(new, decisions, status=2)
    try:
        with opened(log) as lines:
            result = replay(lines_of(lines), before, after, host=host, frontend=frontend)
    except (EOFError, zlib.error) as error:
        stop(f"{log}: the file is damaged or truncated: {error}")
    except OSError as error:
        stop(f"{log}: {error.strerror or error}")
    except MissingEngine as error:
        stop(str(error))
    if not result.requests:
        stop(f"{log}: no request found in the formats json, common and combined")
    click.echo(result.as_json() if as_data else result.as_text())
    sys.exit(1 if result.changed else 0)
