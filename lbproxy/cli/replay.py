"""CONTROL. ``lbproxy replay``: what would another configuration have done?"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from lbproxy.cli.base import FILE, load, main, stop

__all__ = ["replay_command"]

LONGEST = 1024 * 1024
"""Characters in the longest line that is looked at; a longer one is no request."""


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    if path == "-":
        yield sys.stdin
        return
    if path.endswith(".gz"):
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as stream:
            yield stream
    else:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            yield stream


def _lines(stream: TextIO) -> Iterator[str]:
    """Yield the lines of a file; a line that is too long is cut."""
    while line := stream.readline(LONGEST):
        rest = line
        while len(rest) == LONGEST and not rest.endswith("\n"):
            line, rest = "too long", stream.readline(LONGEST)
        yield line


@main.command("replay")
@click.argument("log")
@click.option("--old", required=True, type=FILE, help="The old configuration.")
@click.option("--new", required=True, type=FILE, help="The new configuration.")
@click.option(
    "--host", default="localhost", show_default=True, help="Host of log lines without one."
)
@click.option("--frontend", default="", help="Frontend of log lines without one.")
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
        with _opened(log) as lines:
            result = replay(_lines(lines), before, after, host=host, frontend=frontend)
    except (EOFError, zlib.error) as error:
        stop(f"{log}: it is damaged or cut short: {error}")
    except OSError as error:
        stop(f"{log}: {error.strerror or error}")
    except MissingEngine as error:
        stop(str(error))
    if not result.requests:
        stop(f"{log}: there is no request in it, in the format json, common or combined")
    click.echo(result.as_json() if as_data else result.as_text())
    sys.exit(1 if result.changed else 0)
