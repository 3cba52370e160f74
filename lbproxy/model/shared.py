"""PURE. ``[shared]``: the store through which several nodes share state."""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from lbproxy.model.base import NOWHERE, Address, Where, hidden, option

__all__ = ["RedisPlace", "SharedSpec", "read_redis_url"]

_PORT = 6379
_SENTINEL_PORT = 26379
_DATABASES = 16_384


@frozen
class SharedSpec:
    """``[shared]``: one Redis for the limits, bans, counts and lists of all nodes."""

    on: bool = option("hidden", False, doc="whether the section exists")
    redis: str = option(
        "string",
        "",
        secret=True,
        doc=(
            "address of the Redis server: ``redis://USER:PASSWORD@HOST:PORT/DATABASE``, "
            "``rediss://`` for TLS, ``unix:///PATH`` for a socket, or "
            "``sentinel://HOST:PORT,HOST:PORT/SERVICE/DATABASE``; only the host is required"
        ),
        example="redis://127.0.0.1/0",
        restart=True,
    )
    password_file: str = option(
        "path",
        "",
        doc="file with the password, instead of one in ``redis``",
        restart=True,
    )
    ca: str = option(
        "path",
        "",
        doc="PEM file of the authorities for ``rediss://``; empty: those of the system",
        restart=True,
    )
    timeout: float = option(
        "duration",
        0.25,
        min=0.005,
        max=10,
        doc="deadline of one command; no request waits for it",
        example="250ms",
        restart=True,
    )
    prefix: str = option(
        "string",
        "lbproxy",
        doc="first part of all keys; nodes with the same prefix and database share state",
        restart=True,
    )
    where: Where = hidden(NOWHERE)


@frozen
class RedisPlace:
    """The parts of ``redis``.

    ``addresses``: the server, or the sentinels. ``service``: the name of the master at the
    sentinels, "" without sentinels.
    """

    scheme: Literal["redis", "rediss", "unix", "sentinel"]
    addresses: tuple[Address, ...]
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    service: str = ""

    @property
    def tls(self) -> bool:
        """True if the connection is encrypted."""
        return self.scheme == "rediss"

    def __str__(self) -> str:
        """Return the place for people, without login and password."""
        hosts = ",".join(str(one) for one in self.addresses)
        if self.scheme == "unix":
            return hosts
        service = f"/{self.service}" if self.service else ""
        return f"{self.scheme}://{hosts}{service}/{self.database}"


def read_redis_url(text: str) -> RedisPlace:
    """Return the parts of ``text``. Raises ValueError with a message that does not repeat
    ``text``.
    """
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in ("redis", "rediss", "unix", "sentinel"):
        raise ValueError("expected redis://, rediss://, unix:/// or sentinel://")
    login, at, rest = rest.rpartition("@")
    username, _, password = (unquote(part) for part in login.partition(":"))
    if at and not (username or password):
        raise ValueError("neither a user nor a password precedes the @")
    hosts, _, path = rest.partition("/")
    if scheme == "unix":
        path, _, query = path.partition("?db=")
        if hosts or not path:
            raise ValueError("a socket needs an absolute path after three slashes")
        address = Address("unix", path=f"/{path}")
        return RedisPlace("unix", (address,), username, password, _database(query))
    service = ""
    if scheme == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("the name of the service is missing after the hosts")
    port = _SENTINEL_PORT if scheme == "sentinel" else _PORT
    found = hosts.split(",") if scheme == "sentinel" else [hosts]
    addresses = tuple(_address(one, port) for one in found)
    kind: Literal["redis", "rediss", "sentinel"] = scheme  # type: ignore[assignment]
    return RedisPlace(kind, addresses, username, password, _database(path), service)


def _address(text: str, port: int) -> Address:
    parts = urlsplit(f"//{text}")
    host = parts.hostname or ""
    if not host or parts.path or parts.query or any(c.isspace() for c in host):
        raise ValueError("a host is missing or not valid")
    try:
        found = port if parts.port is None else parts.port
    except ValueError:
        found = 0
    if not 0 < found < 65536:
        raise ValueError("a port is not a number from 1 to 65535")
    return Address("tcp", host, found)


def _database(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and int(text) < _DATABASES):
        raise ValueError("the database is not a number")
    return int(text or "0")
