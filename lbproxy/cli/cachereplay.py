"""CONTROL. ``lbproxy cache replay``: the hit ratio of a policy and a size for logged requests."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import click

from lbproxy.cli.base import FILE, load, stop
from lbproxy.cli.logfile import lines_of, opened
from lbproxy.cli.parameters import duration
from lbproxy.cli.remote import json_option, show_json
from lbproxy.cli.tables import bytes_, show

__all__ = ["replay_command"]


def _sizes(context: Any, parameter: Any, values: tuple[str, ...]) -> tuple[int, ...]:
    from lbproxy.config.units import parse

    try:
        return tuple(int(parse("size", value, {"min": 65536})) for value in values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(name="replay")
@click.argument("log")
@click.option("-c", "--config", default="lb.ini", show_default=True, type=FILE)
@click.option("--cache", "name", required=True, metavar="NAME", help="The [cache NAME].")
@click.option(
    "--size", "sizes", multiple=True, callback=_sizes, metavar="SIZE",
    help="Size of the cache, such as 64m; several are compared. Default: those of the section.",
)  # fmt: skip
@click.option(
    "--lifetime", default="1h", show_default=True, type=duration,
    help="Lifetime of responses that no line of ttl decides: a log has no Cache-Control.",
)  # fmt: skip
@click.option(
    "--host", default="localhost", show_default=True, help="Host for log lines without one."
)
@json_option
def replay_command(
    log: str,
    config: Path,
    name: str,
    sizes: tuple[int, ...],
    lifetime: float,
    host: str,
    as_data: bool,
) -> None:
    """Print the hit ratio that a cache would have had on the requests of an access log.

    LOG has the format json, common or combined. It may be compressed (.gz), or - for standard
    input.

    \b
    lbproxy cache replay access.log --cache main --size 16m --size 64m --size 256m
    """
    from lbproxy.cache.simulation import Simulation
    from lbproxy.decide.hitratio import logged_response
    from lbproxy.proxy.features.caching.spec import CacheSpec, policy_of

    found = {one.name: one for one in load(config, status=2).of(CacheSpec)}
    if name not in found:
        stop(f"{config}: there is no [cache {name}]; the caches are {', '.join(found) or 'none'}")
    spec = found[name]
    own = spec.memory_size if spec.disk is None else spec.disk.size
    runs = [Simulation(policy_of(spec), size, lifetime) for size in sizes or (own,)]
    try:
        with opened(log) as stream:
            for line in lines_of(stream):
                one = logged_response(line, host)
                if one is not None:
                    for run in runs:
                        run.request(one)
    except (EOFError, zlib.error) as error:
        stop(f"{log}: the file is damaged or truncated: {error}")
    except OSError as error:
        stop(f"{log}: {error.strerror or error}")
    if not runs[0].result.requests:
        stop(f"{log}: no request found in the formats json, common and combined")
    rows = [
        {
            "size": run.limit,
            "requests": run.result.requests,
            "cacheable": run.result.cacheable,
            "hits": run.result.hits,
            "hit_ratio": round(run.result.ratio, 4),
            "byte_ratio": round(run.result.byte_ratio, 4),
            "expired": run.result.expired,
            "evicted": run.result.evicted,
            "objects": len(run),
        }
        for run in runs
    ]
    if as_data:
        show_json(rows)
        return
    shown = [
        (bytes_(one["size"]), one["requests"], one["cacheable"], f"{one['hit_ratio']:.1%}",
         f"{one['byte_ratio']:.1%}", one["expired"], one["evicted"], one["objects"])
        for one in rows
    ]  # fmt: skip
    titles = "size", "requests", "cacheable", "hit ratio", "byte ratio", "expired", "evicted"
    show((*titles, "objects"), shown)
