"""CONTROL. Warnings for files with secrets that every user of the machine can read."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lbproxy.model import Config

if TYPE_CHECKING:
    from lbproxy.tls.certificates import KeyPair

__all__ = ["exposed_files", "exposed_keys", "is_exposed"]


def is_exposed(path: str) -> bool:
    """Return whether all users of this machine can read the file, by its mode and those of its
    folders.
    """
    file = Path(path).absolute()
    try:
        if not file.stat().st_mode & stat.S_IROTH:
            return False
        return all(folder.stat().st_mode & stat.S_IXOTH for folder in file.parents)
    except OSError:
        return False


def exposed_keys(owner: str, pairs: Iterable[KeyPair], config: Config) -> list[str]:
    """Return a warning for each private key of a listener that all users can read.

    Excludes keys of ``[certificate]``, which :func:`exposed_files` checks.
    """
    known = {spec.key or spec.certificate for spec in config.certificates}
    files = dict.fromkeys(pair.key_file for pair in pairs if pair.key_file)
    files = {file: None for file in files if file not in known}
    return [_warning(owner, "the private key", file) for file in files if is_exposed(file)]


def exposed_files(config: Config) -> list[str]:
    """Return a warning for each exposed file of ``[certificate]``, ``secret`` and passwords of
    checks.

    :func:`exposed_keys` checks the keys of certificates that listeners name by path.
    """
    found: dict[str, str] = {}
    for spec in config.certificates:
        file = spec.key or spec.certificate
        found.setdefault(file, _warning(f"certificate {spec.name}", "the private key", file))
    secret = config.settings.secret
    if secret.startswith("file:"):
        file = secret.removeprefix("file:")
        found.setdefault(file, _warning("lbproxy", "the secret", file))
    for backend in config.backends:
        for file in _password_files(backend):
            found.setdefault(file, _warning(f"backend {backend.name}", "the password", file))
    return [warning for file, warning in found.items() if is_exposed(file)]


def _warning(owner: str, what: str, file: str) -> str:
    return f"{owner}: all users of this machine can read {what} in {file}: chmod o-rwx {file}"


def _password_files(spec: Any) -> Iterator[str]:
    """Yield the values of all options named ``..._file`` below ``spec`` that contain a password."""
    for one in attrs.fields(type(spec)):
        value = getattr(spec, one.name)
        if one.metadata.get("kind") == "path" and one.name.endswith("password_file"):
            if value:
                yield value
            continue
        for part in value if isinstance(value, tuple) else (value,):
            if attrs.has(type(part)):
                yield from _password_files(part)
