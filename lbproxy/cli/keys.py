"""CONTROL. ``lbproxy keys``: the API keys of a CORS proxy and their usage, from their files."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from lbproxy.cli.base import FILE, load, main, stop
from lbproxy.cli.remote import json_option, show_json
from lbproxy.cli.tables import bytes_, show
from lbproxy.cors.keys import KeyRing

__all__: list[str] = []

_Command = Callable[..., None]


def _file_options(command: _Command) -> _Command:
    config = click.option(
        "-c",
        "--config",
        type=FILE,
        default=Path("lb.ini"),
        show_default=True,
        help="Configuration whose key 'keys' has the path of the key file.",
    )
    file = click.option("--file", type=FILE, default=None, help="Path of the key file.")
    return config(file(command))


def _many(name: str, into: str, metavar: str, help: str) -> Callable[[_Command], _Command]:
    return click.option(
        name, into, multiple=True, metavar=metavar, help=f"{help}; may be repeated."
    )


@main.group()
def keys() -> None:
    """Edit the API keys of a CORS proxy, and show their usage.

    Running processes see a change within 2 seconds.
    """


@keys.command()
@click.argument("name")
@_many("--origin", "origins", "ORIGIN", "Origin of pages that may use the key")
@_many("--target", "targets", "HOST[:PORT][/PATH*]", "Target the key may be used for")
@_many("--method", "methods", "METHOD", "Method the key may be used with")
@_many("--referrer", "referrers", "HOST[:PORT][/PATH*]", "Page that may use the key")
@click.option(
    "--requests", default="", metavar="COUNT/TIME", help="Quota of requests, such as 1000/1h."
)
@click.option("--bytes", default="", metavar="SIZE/TIME", help="Quota of bytes, such as 1g/1d.")
@click.option(
    "--concurrent", default=0, type=click.IntRange(0), help="Maximum number of concurrent calls."
)
@click.option(
    "--expires", default="", metavar="TIME", help="Lifetime, such as 30d. Default: no expiry."
)
@_file_options
def add(name: str, config: Path, file: Path | None, **rules: Any) -> None:
    """Add a key and print it; it cannot be shown again.

    \b
    lbproxy keys add app --origin https://app.example.com --target 'api.example.org/v1/*'
    lbproxy keys add trial --requests 100/1h --bytes 1g/1d --concurrent 4 --expires 30d
    """
    from lbproxy.proxy.features.corsproxy.keyedit import made_record, new_key

    key = new_key()
    try:
        record = made_record(name, key, time.time(), **rules)
    except ValueError as error:
        stop(str(error))
    _edit(_path(config, file), lambda ring: ring.added(record))
    click.echo(f"key {name}; it is not stored and cannot be shown again:", err=True)
    click.echo(key)


@keys.command("list")
@_file_options
def list_(config: Path, file: Path | None) -> None:
    """List the keys, by name.

    \b
    lbproxy keys list --config lb.ini
    """
    from lbproxy.proxy.features.corsproxy.keyedit import key_words

    ring = _read(_path(config, file))
    for one in sorted(ring.records, key=lambda record: record.name):
        click.echo(" ".join([one.name, *key_words(one, time.time())]))


@keys.command()
@click.argument("name")
@_file_options
def revoke(name: str, config: Path, file: Path | None) -> None:
    """Remove a key.

    \b
    lbproxy keys revoke app
    """

    def without(ring: KeyRing) -> KeyRing:
        try:
            return ring.revoked(name)
        except KeyError:
            raise ValueError(f"there is no key {name!r}") from None

    path = _path(config, file)
    if not path.exists():
        stop(f"{path}: no such file; 'lbproxy keys add' creates it")
    _edit(path, without)
    click.echo(f"revoked {name}")


@keys.command()
@click.argument("name", default="")
@click.option(
    "--usage",
    "usage_file",
    type=FILE,
    default=None,
    help="Path of the usage file, if 'usage' sets one.",
)
@json_option
@_file_options
def usage(
    name: str, usage_file: Path | None, as_data: bool, config: Path, file: Path | None
) -> None:
    """Show what each key, or one of them, has used since it was added.

    \b
    lbproxy keys usage
    lbproxy keys usage app --json
    """
    from lbproxy.proxy.features.corsproxy.keyusage import usage_of

    path, counts = _paths(config, file)
    ring = _read(path)
    records = sorted(ring.records, key=lambda record: record.name)
    if name and name not in {one.name for one in records}:
        stop(f"there is no key {name!r}")
    wanted = [one for one in records if one.name == name or not name]
    counts = usage_file or counts
    try:
        found = usage_of(wanted, str(counts), time.time())
    except OSError as error:
        stop(f"{counts}: {error.strerror}")
    except ValueError as error:
        stop(f"{counts}: {error}")
    if as_data:
        show_json(found)
        return
    headings = ("key", "requests", "cached", "refused", "failed", "in", "out", "quotas", "last")
    show(headings, [_usage_row(one) for one in found])


def _usage_row(one: dict[str, Any]) -> tuple[Any, ...]:
    quotas = [f"{unit} {used} of {most}" for unit, (used, most) in one["quotas"].items()]
    last = f"{datetime.fromtimestamp(one['last'], UTC):%Y-%m-%dT%H:%M:%SZ}" if one["last"] else ""
    counts = (one["requests"], one["cached"], one["refused"], one["failed"])
    sizes = (bytes_(one["bytes_in"]), bytes_(one["bytes_out"]))
    return (one["name"], *counts, *sizes, ", ".join(quotas), last)


def _path(config: Path, file: Path | None) -> Path:
    return _paths(config, file)[0]


def _paths(config: Path, file: Path | None) -> tuple[Path, Path]:
    """Return the file of keys and that of their usage: the given ones, or the only ones in the
    configuration.
    """
    if file is not None:
        return file, Path(f"{file}.usage")
    named = _key(config)
    if len({keys for keys, _ in named}) != 1:
        found = "names no file of keys" if not named else "names several files of keys"
        stop(f"{config} {found}; use --file")
    return named[0]


def _key(config: Path) -> list[tuple[Path, Path]]:
    """Return the files of a configuration, which may not exist yet."""
    from lbproxy.cli.offline import NO_FILES
    from lbproxy.proxy.features.corsproxy.spec import usage_path
    from lbproxy.registry import load_config

    found = load(config, lambda path: load_config(path, files=NO_FILES))
    named: list[Any] = [one for one in found.frontends if getattr(one, "keys", "")]
    return [(Path(one.keys), Path(usage_path(one))) for one in named]


def _edit(path: Path, change: Callable[[KeyRing], KeyRing]) -> None:
    from lbproxy.proxy.features.corsproxy.keyedit import edit_keys

    try:
        edit_keys(path, change)
    except OSError as error:
        stop(f"{path}: {error.strerror}; nothing has changed")
    except ValueError as error:
        stop(f"{path}: {error}")


def _read(path: Path) -> KeyRing:
    from lbproxy.proxy.features.corsproxy.keyedit import read_keys

    try:
        return read_keys(path)
    except FileNotFoundError:
        stop(f"{path}: no such file; 'lbproxy keys add' creates it")
    except (OSError, ValueError) as error:
        stop(f"{path}: {error}")
