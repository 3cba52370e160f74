"""CONTROL. ``lbproxy cache warm``: request a list of URLs before clients do."""

from __future__ import annotations

import os
import select
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
from attrs import asdict

from lbproxy.cli.base import count, stop
from lbproxy.cli.parameters import duration
from lbproxy.cli.parameters import rate as rate_type
from lbproxy.cli.remote import json_option, show_json
from lbproxy.cli.tables import bytes_, plain
from lbproxy.cli.warming import LARGEST, Report, WarmOptions, warm

__all__ = ["warm_command"]

_PIECE = 64 * 1024

_SHOWN = 20
"""Number of failures that are printed individually."""


def _address(context: Any, parameter: Any, value: str) -> tuple[str, int] | None:
    if not value:
        return None
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def _headers(context: Any, parameter: Any, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = []
    for line in values:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not line.isprintable() or not line.isascii():
            raise click.BadParameter(f"a header must be NAME: VALUE, found {line[:100]!r}")
        found.append((name.strip(), value.strip()))
    return tuple(found)


def _urls(file: Any, deadline: float) -> Iterator[str]:
    """Yield the URLs of a file, one per line. ``#`` begins a comment."""
    for line in _lines(file, time.monotonic() + deadline):
        url = line.decode(errors="replace").strip()
        if url and not url.startswith("#"):
            yield url


def _lines(file: Any, end: float) -> Iterator[bytes]:
    """Yield the lines of a file, or of a pipe until it delivers nothing until the time ``end``.

    A line that is too long for a URL is cut. The function does not use ``readline`` in a thread,
    because such a thread would block the exit.
    """
    fd, known, data = file.fileno(), b"", b"\n"
    while data:
        if not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
            break
        data = os.read(fd, _PIECE)
        *whole, known = (known + data).split(b"\n")
        yield from (line[: LARGEST + 1] for line in whole)
        known = known[: LARGEST + 1]
    yield known


@click.command(name="warm")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--connect", default="", callback=_address, metavar="HOST:PORT",
    help="Connect to this listener, regardless of the host in a URL.",
)  # fmt: skip
@click.option(
    "--rate", default="20/s", show_default=True, type=rate_type, help="Maximum rate of requests."
)
@click.option(
    "--at-once", default=8, show_default=True, type=click.IntRange(1, 256), help="Connections."
)
@click.option(
    "--deadline",
    default="10m",
    show_default=True,
    type=duration,
    help="Time limit for all requests.",
)
@click.option(
    "--timeout",
    default="30s",
    show_default=True,
    type=duration,
    help="Maximum wait for the next bytes of a response.",
)
@click.option(
    "-H", "headers", multiple=True, callback=_headers, metavar="NAME:VALUE",
    help="A header for every request, such as Accept-Encoding.",
)  # fmt: skip
@click.option("--ca", default="", metavar="FILE", help="Certificate authorities for https.")
@json_option
def warm_command(
    file: Any,
    connect: tuple[str, int] | None,
    rate: float,
    at_once: int,
    deadline: float,
    timeout: float,
    headers: tuple[tuple[str, str], ...],
    ca: str,
    as_data: bool,
) -> None:
    """Request each URL in FILE once, so that the cache has its response; - is standard input.

    FILE has one URL a line. Exit status 0 if every response is stored, 1 if one is not.

    \b
    lbproxy cache warm urls.txt --rate 50/s
    lbproxy cache warm urls.txt --connect 127.0.0.1:8080 -H "Accept-Encoding: gzip"
    """
    try:
        tls = ssl.create_default_context(cafile=ca) if ca else None
    except OSError as error:
        stop(f"{ca}: {error.strerror or error}")
    options = WarmOptions(connect, rate, at_once, deadline, max(timeout, 0.001), headers, tls)
    report = warm(_urls(file, deadline), options, _progress)
    if as_data:
        show_json(asdict(report))
    else:
        _show(report)
    sys.exit(1 if report.failed or report.late else 0)


def _progress(report: Report) -> None:
    """Print the progress if standard error is a terminal."""
    if sys.stderr.isatty():
        text = f"{report.done} requested, {report.failed} failed, {bytes_(report.bytes)}"
        click.echo(text, err=True)


def _show(report: Report) -> None:
    for one in report.failures[:_SHOWN]:
        click.echo(f"{plain(one.url)}: {plain(one.reason)}")
    if report.failed > _SHOWN:
        click.echo("failures by reason:")
        for reason, number in report.reasons.most_common(_SHOWN):
            click.echo(f"  {number}: {plain(reason)}")
    text = f"{report.stored} stored, {report.hit} were in the cache, {report.failed} failed"
    if report.late:
        text += f", {report.late} not requested before the deadline"
    click.echo(f"{text}; {count(report.bytes, 'byte')} received")
