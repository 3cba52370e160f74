"""CONTROL. The admin address of a running lbproxy, from an option, the environment or the
configuration.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lbproxy.cli.base import load, stop

if TYPE_CHECKING:
    from lbproxy.config.model import AdminSpec

__all__ = ["DEFAULT", "find_address", "read_token"]

DEFAULT = Path("lb.ini")


def find_address(admin: str, config: Path | None) -> str:
    """Return the URL of the admin API, or end the command with an error."""
    admin = admin or ("" if config is not None else os.environ.get("LBPROXY_ADMIN", ""))
    if admin:
        return _url(admin)
    path = config if config is not None else DEFAULT
    if config is None and not path.is_file():
        stop(
            "no lbproxy was specified: give --admin unix:PATH or "
            "http://HOST:PORT, -c lb.ini, or LBPROXY_ADMIN"
        )
    specs = _written(path) or load(path).settings.admin
    if not specs:
        stop(f"{path} has no admin address: write `admin = unix:lbproxy.sock` into [lbproxy]")
    unix = [spec for spec in specs if spec.endpoint.startswith("unix:")]
    best = [spec for spec in specs if spec.role == "write"]
    return _of((unix or best or list(specs))[0])


def _written(path: Path) -> list[AdminSpec]:
    """Return the admin addresses in a configuration. It may have errors elsewhere, because lbproxy
    may run with an older version of it.
    """
    from lbproxy.config.build import DISK
    from lbproxy.config.errors import Problems
    from lbproxy.config.ini import read_ini
    from lbproxy.config.lines import read_admin
    from lbproxy.config.options import Spot
    from lbproxy.config.words import split

    folder = str(path.absolute().parent)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    problems = Problems()
    for section in read_ini(
        text, file=str(path), folder=folder, env=os.environ, reader=DISK, problems=problems
    ):
        for entry in section.entries if section.kind == "lbproxy" else ():
            for item in entry.items if entry.key == "admin" else ():
                with suppress(ValueError):
                    spot = Spot(problems, "lbproxy", "admin", item.where, folder)
                    found.append(read_admin(split(item.text), spot))
    return [spec for spec in found if spec is not None]


def _of(spec: AdminSpec) -> str:
    address = spec.address
    assert address is not None
    if address.kind == "unix":
        return f"unix:{address.path}"
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if spec.tls else 'http'}://{shown}:{address.port}"


def _url(text: str) -> str:
    if text.startswith("/"):
        return f"unix:{text}"
    if text.startswith("unix:") and len(text) > 5:
        return text
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port
    except ValueError:
        good = None
    if not good:
        stop(f"{text!r} is not an admin address: unix:PATH, http://HOST:PORT or https://HOST:PORT")
    return url.rstrip("/")


def read_token(file: Path | None) -> str:
    """Return the token in ``file``, or that of the environment; "" without either."""
    if file is None:
        return os.environ.get("LBPROXY_TOKEN", "")
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        stop(f"{file}: {getattr(error, 'strerror', None) or error}")
