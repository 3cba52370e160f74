"""CONTROL. Parameter types of commands about servers, and their completion in a shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
from click.shell_completion import CompletionItem

from lbproxy.cli.adminaddress import DEFAULT

if TYPE_CHECKING:
    pass

__all__ = ["chosen", "completions", "duration", "rate", "server_path", "target"]


def completions(ctx: click.Context, incomplete: str) -> list[str]:
    """Return ``backend`` and ``backend/server`` names of the configuration that begin with
    ``incomplete``; [] if it cannot be read.
    """
    from lbproxy.config.errors import ConfigErrors
    from lbproxy.registry import load_config

    try:
        config = load_config(Path(ctx.params.get("config") or DEFAULT))
    except (ConfigErrors, OSError):
        return []
    names = [backend.name for backend in config.backends]
    names += [f"{one.name}/{server.name}" for one in config.backends for server in one.servers]
    names += [
        f"{one.name}/{name}"
        for one in config.backends
        for line in one.discover
        for name in line.names
    ]
    return [name for name in names if name.startswith(incomplete)]


class _Target(click.ParamType):  # type: ignore[type-arg]
    name = "BACKEND/SERVER"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        """Return both names."""
        if isinstance(value, tuple):
            return value
        backend, slash, server = str(value).partition("/")
        if not (backend and slash and server):
            self.fail(f"{value!r} is not BACKEND/SERVER, such as app/b", param, ctx)
        return backend, server

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """Return the matching servers of the configuration."""
        found = completions(ctx, incomplete)
        return [CompletionItem(name) for name in found if "/" in name]


class _Chosen(click.ParamType):  # type: ignore[type-arg]
    name = "BACKEND[/SERVER]"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        """Return both names; "" if the server is omitted. A slash without a server is an error."""
        if isinstance(value, tuple):
            return value
        backend, slash, server = str(value).partition("/")
        if not backend or (slash and not server):
            self.fail(f"{value!r} is neither BACKEND nor BACKEND/SERVER, such as app/b", param, ctx)
        return backend, server

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """Return the matching backends and servers of the configuration."""
        return [CompletionItem(name) for name in completions(ctx, incomplete)]


class _Duration(click.ParamType):  # type: ignore[type-arg]
    name = "DURATION"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        from lbproxy.config.units import parse

        try:
            return float(parse("duration", str(value), {"min": 0.0, "max": 86400.0}))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Rate(click.ParamType):  # type: ignore[type-arg]
    name = "RATE"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the number per second, above 0."""
        if isinstance(value, float):
            return value
        from lbproxy.config.units import parse

        try:
            found = float(parse("rate", str(value), {}))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if found <= 0:
            self.fail("the rate must be above 0", param, ctx)
        return found


target = _Target()
"""The parameter type ``app/b``."""
chosen = _Chosen()
"""The parameter type ``app`` or ``app/b``. Its empty default is ``("", "")``."""
duration = _Duration()
"""The parameter type ``30s``."""
rate = _Rate()
"""The parameter type ``10/s``."""


def server_path(names: tuple[str, str]) -> str:
    """Return the path of a server in the API."""
    backend, server = (quote(name, safe="") for name in names)
    return f"backends/{backend}/servers/{server}"
