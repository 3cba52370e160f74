"""CONTROL. Requests from commands to the admin API of a running lbproxy.

Exit statuses of these commands: 0 for success; 1 if lbproxy refuses the request, or reports a
problem with its subject; 2 for an invalid command line; 3 if no lbproxy can be reached.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import update_wrapper
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

import click
from attrs import define

from lbproxy.cli.adminaddress import find_address, read_token
from lbproxy.cli.base import stop

__all__ = [
    "REFUSED",
    "UNREACHABLE",
    "Remote",
    "RequestRefused",
    "json_option",
    "remote_options",
    "show_json",
]

REFUSED = 1
UNREACHABLE = 3

_TIMEOUT = 10.0


class RequestRefused(Exception):
    """lbproxy answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@define
class Remote:
    """The admin API of one lbproxy.

    ``url``: ``unix:PATH``, ``http://HOST:PORT`` or ``https://HOST:PORT``; ``token``: "" for none.
    """

    url: str
    token: str = ""
    ca: str = ""
    certificate: str = ""

    def ask(
        self, method: str, path: str, body: Any = None, *, timeout: float = _TIMEOUT, **query: Any
    ) -> Any:
        """Return the JSON of the answer.

        Raises :class:`RequestRefused`; ends the command if lbproxy cannot be reached.
        """
        text = self.text(method, path, body, timeout=timeout, **query)
        try:
            return json.loads(text)
        except ValueError:
            message = f"{self.url} is not the admin API of lbproxy: its answer is not JSON"
            stop(message, UNREACHABLE)

    def get(self, path: str, **query: Any) -> Any:
        """Send a GET request; see :meth:`ask`."""
        return self.ask("GET", path, **query)

    def all(self, path: str, most: int = 100_000, **query: Any) -> list[Any]:
        """Return all items of a list in pages, at most ``most``."""
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
        """Return the body of the answer."""
        connection = self._connection(timeout)
        try:
            response = self._send(connection, method, path, body, accept, query)
            return response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._nobody(error)
        finally:
            connection.close()

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        """Yield the lines of a stream until lbproxy ends it."""
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
            f"cannot reach lbproxy at {self.url}: {reason}; is it running with this admin address?",
            UNREACHABLE,
        )


def _message(response: http.client.HTTPResponse) -> str:
    try:
        return str(json.loads(response.read())["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"it answers {response.status} {response.reason}"


# -- finding it ----------------------------------------------------------------------------------


F = TypeVar("F", bound=Callable[..., Any])


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select an lbproxy. The command gets a :class:`Remote` as its first
    argument.
    """

    def run(
        admin: str,
        config: Path | None,
        token_file: Path | None,
        ca: str,
        certificate: str,
        **options: Any,
    ) -> Any:
        remote = Remote(find_address(admin, config), read_token(token_file), ca, certificate)
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
    """Add the option ``--json``."""
    return click.option("--json", "as_data", is_flag=True, help="Print the response as JSON.")(
        command
    )


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))
