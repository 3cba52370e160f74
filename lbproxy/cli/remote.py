"""CONTROL. A running lbproxy as its commands see it: found, asked, and what it says in words.

Exit statuses of all commands that use it: 0 done; 1 it refused, or what was asked about is not
well; 2 the command line is wrong; 3 there is no lbproxy to talk to.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

import click
from attrs import define
from click.shell_completion import CompletionItem

from lbproxy.cli.base import load, stop

if TYPE_CHECKING:
    from lbproxy.config.model import AdminSpec

__all__ = [
    "REFUSED",
    "UNREACHABLE",
    "Remote",
    "RequestRefused",
    "duration",
    "json_option",
    "remote_options",
    "show_json",
    "target",
]

REFUSED = 1
UNREACHABLE = 3

_TIMEOUT = 10.0
_DEFAULT = Path("lb.ini")


class RequestRefused(Exception):
    """lbproxy answered, and not with what was asked for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """To the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@define
class Remote:
    """``url``: ``unix:PATH``, ``http://HOST:PORT`` or ``https://HOST:PORT``; ``token``: "" for
    none.
    """

    url: str
    token: str = ""
    ca: str = ""
    certificate: str = ""

    def ask(
        self, method: str, path: str, body: Any = None, *, timeout: float = _TIMEOUT, **query: Any
    ) -> Any:
        """The JSON of the answer.

        Raises :class:`RequestRefused`; ends the command when there is nobody.
        """
        return json.loads(self.text(method, path, body, timeout=timeout, **query))

    def get(self, path: str, **query: Any) -> Any:
        """:meth:`ask` with GET."""
        return self.ask("GET", path, **query)

    def all(self, path: str, most: int = 100_000, **query: Any) -> list[Any]:
        """All items of a list that comes in pages, at most ``most``."""
        items: list[Any] = []
        offset: int | None = 0
        while offset is not None and len(items) < most:
            page = self.get(path, limit=min(1000, most - len(items)), offset=offset, **query)
            items += page["items"]
            offset = page["next"]
        return items

    def text(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout: float = _TIMEOUT,
        accept: str = "",
        **query: Any,
    ) -> str:
        """The body of the answer."""
        connection = self._connection(timeout)
        try:
            response = self._send(connection, method, path, body, accept, query)
            return response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._nobody(error)
        finally:
            connection.close()

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        """The lines of an answer that goes on; ends when lbproxy does."""
        connection = self._connection(60.0)
        try:
            response = self._send(connection, "GET", path, None, "", query)
            while line := response.readline():
                yield line.decode().rstrip("\n")
        except (OSError, http.client.HTTPException) as error:
            self._nobody(error)
        finally:
            connection.close()

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self.url.startswith("unix:"):
            return _Unix(self.url.removeprefix("unix:"), timeout)
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout)
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.certificate:
            context.load_cert_chain(self.certificate)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Any,
        accept: str,
        query: dict[str, Any],
    ) -> http.client.HTTPResponse:
        headers = {"X-Requested-With": "lbproxy"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if accept:
            headers["Accept"] = accept
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        wanted = "&".join(
            f"{key}={quote(str(value), safe='')}"
            for key, value in query.items()
            if value is not None
        )
        full = path if path.startswith("/") else f"/api/v1/{path}"
        connection.request(method, f"{full}?{wanted}" if wanted else full, data, headers)
        response = connection.getresponse()
        if response.status >= 400:
            raise RequestRefused(response.status, _message(response))
        return response

    def _nobody(self, error: Exception) -> NoReturn:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        stop(
            f"cannot reach lbproxy at {self.url}: {reason}; does it run, with this admin address?",
            UNREACHABLE,
        )


def _message(response: http.client.HTTPResponse) -> str:
    try:
        return str(json.loads(response.read())["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"it answers {response.status} {response.reason}"


# -- finding it ----------------------------------------------------------------------------------


def _find(admin: str, config: Path | None) -> str:
    """The address, or the end of the command."""
    admin = admin or ("" if config is not None else os.environ.get("LBPROXY_ADMIN", ""))
    if admin:
        return _url(admin)
    path = config if config is not None else _DEFAULT
    if config is None and not path.is_file():
        stop(
            "which lbproxy? Give --admin unix:PATH or http://HOST:PORT, -c lb.ini, or LBPROXY_ADMIN"
        )
    specs = _written(path) or load(path).settings.admin
    if not specs:
        stop(f"{path} has no admin address: write `admin = unix:lbproxy.sock` into [lbproxy]")
    unix = [spec for spec in specs if spec.endpoint.startswith("unix:")]
    best = [spec for spec in specs if spec.role == "write"]
    return _of((unix or best or list(specs))[0])


def _written(path: Path) -> list[AdminSpec]:
    """The admin addresses in a configuration, whatever else may be wrong with it: lbproxy may run
    with an older one.
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


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.get("LBPROXY_TOKEN", "")
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        stop(f"{file}: {getattr(error, 'strerror', None) or error}")


F = TypeVar("F", bound=Callable[..., Any])


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which lbproxy; the command gets a :class:`Remote` first."""

    def run(
        admin: str,
        config: Path | None,
        token_file: Path | None,
        ca: str,
        certificate: str,
        **options: Any,
    ) -> Any:
        remote = Remote(_find(admin, config), _token(token_file), ca, certificate)
        try:
            return command(remote, **options)
        except RequestRefused as error:
            stop(error.message, REFUSED)

    update_wrapper(run, command)
    path = click.Path(dir_okay=False, path_type=Path)
    for option in (
        click.option(
            "--certificate",
            default="",
            metavar="PEM",
            help="File with the client certificate and key.",
        ),
        click.option(
            "--ca", default="", metavar="PEM", help="Certificate authority of the server."
        ),
        click.option(
            "--token-file", type=path, help="File with the token. Default: LBPROXY_TOKEN."
        ),
        click.option(
            "-c", "--config", type=path, help="Configuration with the admin address. [lb.ini]"
        ),
        click.option(
            "--admin",
            default="",
            metavar="ADDRESS",
            help="unix:PATH, http://HOST:PORT or https://HOST:PORT. Default: LBPROXY_ADMIN.",
        ),
    ):
        run = option(run)
    return run


def json_option(command: F) -> F:
    """``--json``."""
    return click.option("--json", "as_data", is_flag=True, help="Print the response as JSON.")(
        command
    )


def show_json(value: Any) -> None:
    """For programs."""
    click.echo(json.dumps(value, indent=2))


def completions(ctx: click.Context, incomplete: str) -> list[str]:
    """Return ``backend`` and ``backend/server`` names of the configuration that begin so; [] if it
    cannot be read.
    """
    from lbproxy.config.errors import ConfigErrors
    from lbproxy.registry import load_config

    try:
        config = load_config(Path(ctx.params.get("config") or _DEFAULT))
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
        """Both names."""
        if isinstance(value, tuple):
            return value
        backend, slash, server = str(value).partition("/")
        if not (backend and slash and server):
            self.fail(f"{value!r} is not BACKEND/SERVER, such as app/b", param, ctx)
        return backend, server

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """The servers of the configuration."""
        found = completions(ctx, incomplete)
        return [CompletionItem(name) for name in found if "/" in name]


class _Chosen(click.ParamType):  # type: ignore[type-arg]
    name = "BACKEND[/SERVER]"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        """Both names; "" for a server that is left out, and not for one that is missing after the
        slash.
        """
        if isinstance(value, tuple):
            return value
        backend, slash, server = str(value).partition("/")
        if not backend or (slash and not server):
            self.fail(f"{value!r} is neither BACKEND nor BACKEND/SERVER, such as app/b", param, ctx)
        return backend, server

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        """The backends and servers of the configuration."""
        return [CompletionItem(name) for name in completions(ctx, incomplete)]


class _Duration(click.ParamType):  # type: ignore[type-arg]
    name = "DURATION"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        from lbproxy.config.units import parse

        try:
            return float(parse("duration", str(value), {"min": 0.0, "max": 86400.0}))
        except ValueError as error:
            self.fail(str(error), param, ctx)


target = _Target()
"""The parameter type ``app/b``."""

chosen = _Chosen()
"""The parameter type ``app`` or ``app/b``; ``("", "")`` is a good default."""

duration = _Duration()
"""The parameter type ``30s``."""


def server_path(names: tuple[str, str]) -> str:
    """The path of a server in the API."""
    backend, server = (quote(name, safe="") for name in names)
    return f"backends/{backend}/servers/{server}"
