"""CONTROL. ``lbproxy keys``: add, list and revoke the API keys of a CORS proxy, offline."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from lbproxy.cli.base import FILE, load, main, stop
from lbproxy.config.units import parse
from lbproxy.cors.keys import KeyRecord, KeyRing, hashed

__all__: list[str] = []

KEY_BYTES = 24
"""Random bytes of a key: 192 bits."""

_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW

_Command = Callable[..., None]


def _file_options(command: _Command) -> _Command:
    config = click.option(
        "-c",
        "--config",
        type=FILE,
        default=Path("lb.ini"),
        show_default=True,
        help="The configuration, whose key 'keys' names the file.",
    )
    file = click.option("--file", type=FILE, default=None, help="The file of keys itself.")
    return config(file(command))


@main.group()
def keys() -> None:
    """Edit the API keys of a CORS proxy.

    Running processes see a change within 2 seconds.
    """


@keys.command()
@click.argument("name")
@click.option("--origin", "origins", multiple=True, metavar="ORIGIN", help="May be repeated.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="HOST[:PORT][/PATH*]",
    help="Targets the key may be used for; may be repeated.",
)
@click.option("--expires", default="", metavar="TIME", help="Such as 30d; the default is never.")
@_file_options
def add(
    name: str,
    origins: tuple[str, ...],
    targets: tuple[str, ...],
    expires: str,
    config: Path,
    file: Path | None,
) -> None:
    """Add a key and print it; it cannot be shown again.

    \b
    lbproxy keys add app --origin https://app.example.com --target 'api.example.org/v1/*'
    """
    key = secrets.token_urlsafe(KEY_BYTES)
    try:
        until = time.time() + float(parse("duration", expires, {"min": 1.0})) if expires else None
        record = KeyRecord(name, hashed(key), origins, targets, until)
        with _edited(_path(config, file)) as edit:
            edit.ring = edit.ring.added(record)
    except ValueError as error:
        stop(str(error))
    click.echo(f"key {name}; it is not stored and cannot be shown again:", err=True)
    click.echo(key)


@keys.command("list")
@_file_options
def list_(config: Path, file: Path | None) -> None:
    """List the keys, by name.

    \b
    lbproxy keys list --config lb.ini
    """
    ring = _read(_path(config, file))
    for one in sorted(ring.records, key=lambda record: record.name):
        words = [one.name, *(f"origin={text}" for text in one.origins)]
        words += [f"target={text}" for text in one.targets]
        if one.expires is not None:
            until = datetime.fromtimestamp(one.expires, UTC)
            state = "expired" if one.is_expired(time.time()) else "expires"
            words.append(f"{state}={until:%Y-%m-%dT%H:%M:%SZ}")
        click.echo(" ".join(words))


@keys.command()
@click.argument("name")
@_file_options
def revoke(name: str, config: Path, file: Path | None) -> None:
    """Remove a key.

    \b
    lbproxy keys revoke app
    """
    with _edited(_path(config, file)) as edit:
        try:
            edit.ring = edit.ring.revoked(name)
        except KeyError:
            stop(f"there is no key {name!r}")
    click.echo(f"revoked {name}")


def _path(config: Path, file: Path | None) -> Path:
    """The file of keys: as given, or the only one that the configuration names."""
    if file is not None:
        return file
    named = _key(config)
    if len(named) != 1:
        found = "names no file of keys" if not named else "names several files of keys"
        stop(f"{config} {found}; use --file")
    return named[0]


def _key(config: Path) -> list[Path]:
    """The files of keys of a configuration, which need not exist yet."""
    from lbproxy.cli.offline import NO_FILES
    from lbproxy.registry import load_config

    found = load(config, lambda path: load_config(path, files=NO_FILES))
    paths = [getattr(frontend, "keys", "") for frontend in found.frontends]
    return [Path(path) for path in dict.fromkeys(paths) if path]


class _Edit:
    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring


@contextmanager
def _edited(path: Path) -> Iterator[_Edit]:
    """Read the file, and write what has become of the keys; one process at a time."""
    path = path.resolve()  # a link stays one
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        stop(f"{path}: {error.strerror}")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        edit = _Edit(_read(path, missing=True))
        yield edit
        _write(path, edit.ring.dump())
    finally:
        os.close(lock)


def _read(path: Path, *, missing: bool = False) -> KeyRing:
    try:
        return KeyRing.read(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing:
            return KeyRing()
        stop(f"{path}: no such file; 'lbproxy keys add' makes it")
    except (OSError, ValueError) as error:
        stop(f"{path}: {error}")


def _write(path: Path, text: str) -> None:
    """Replace the file at once, so that nobody reads half of it.

    Its permissions and its owner stay: a process that runs as another user must still read it.  A
    new file belongs to the owner of its folder.
    """
    known = path.stat() if path.exists() else None
    mode = 0o640 if known is None else known.st_mode & 0o777
    owner = path.parent.stat() if known is None else known
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(aside, _NEW_FILE, 0o600), "w") as out:
            out.write(text)
            out.flush()
            _give(out.fileno(), owner)
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        stop(f"{path}: {error.strerror}; nothing has changed")


def _give(file: int, owner: os.stat_result) -> None:
    """Give a new file to ``owner``, as far as this user may."""
    made = os.fstat(file)
    if (made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid):
        return
    try:
        os.fchown(file, owner.st_uid, owner.st_gid)
    except PermissionError:
        with suppress(PermissionError):
            os.fchown(file, -1, owner.st_gid)
