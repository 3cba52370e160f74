"""CONTROL. The secret of ``[lbproxy]``: from the configuration, from a file, or random.

A random secret is stored in a file beside ``state`` if a feature signs data for clients with it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from lbproxy.config.units import SECRET_LENGTH
from lbproxy.features import declarations
from lbproxy.model import Config, FrontendSpec

__all__ = ["KEPT_BYTES", "kept_path", "kept_secret", "read_secret", "secret_warnings"]

KEPT_BYTES = 32
"""Length of a random secret."""

_MOST = 4096  # maximum length of a file with a secret in bytes


def read_secret(text: str) -> bytes:
    """Return the secret for ``secret = text``; empty if none is set.

    White space around the content of a file is ignored. Raises OSError, and ValueError for a file
    that is too short or far too long.
    """
    path = text.removeprefix("file:")
    if path == text:
        return text.encode()
    with Path(path).open("rb") as file:
        content = file.read(_MOST + 1)
    secret = content.strip()
    if not SECRET_LENGTH <= len(secret) <= _MOST:
        raise ValueError(f"{path} must hold {SECRET_LENGTH} to {_MOST} bytes, found {len(secret)}")
    return secret


def kept_path(config: Config) -> str:
    """Return the file that keeps a random secret over restarts; "" if no feature needs it."""
    settings = config.settings
    wanted = settings.state and not settings.secret and any(map(_signing, config.frontends))
    return f"{settings.state}.secret" if wanted else ""


def kept_secret(config: Config) -> bytes:
    """Return the secret that an earlier process has stored; empty if none exists."""
    with suppress(OSError):
        path = Path(kept_path(config))
        if path.is_file():
            content = path.read_bytes()
            return content if len(content) == KEPT_BYTES else b""
    return b""


def secret_warnings(config: Config) -> list[str]:
    """Return a warning for each frontend whose clients a restart no longer recognises."""
    settings = config.settings
    if settings.state or settings.secret:
        return []
    text = "without 'state' or 'secret' in [lbproxy], browsers are checked again after a restart"
    found = ((one.name, feature) for one in config.frontends for feature in _signing(one))
    return [f"frontend {name}: {feature}: {text}" for name, feature in found]


def _signing(spec: FrontendSpec) -> list[str]:
    """Return the names of the features whose clients a new secret invalidates."""
    return [name for name, one in declarations().items() if one.signs_for_clients(spec)]
