"""CONTROL. The ``redis`` check: PING, and the role as reported by the server and the sentinels.

Found by :mod:`lbproxy.registry` under its name. It works with Redis, Valkey and other servers
with the same protocol.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.config.model import Address, option
from lbproxy.interfaces import Env
from lbproxy.probes.base import Conversation, Probe, ProbeTarget, Unhealthy, WrongRole
from lbproxy.probes.credentials import (
    password_file_option,
    password_option,
    read_password,
    verify_password,
)
from lbproxy.probes.notes import shorten
from lbproxy.probes.resp import authenticate, command
from lbproxy.probes.sentinel import Master, Sentinels, is_master

__all__ = ["RedisOptions", "RedisProbe"]


@frozen
class RedisOptions:
    """Options of ``check = redis``."""

    user: str = option("string", "", doc="ACL user for AUTH; empty: the default user")
    password: str = password_option()
    password_file: str = password_file_option()
    role: str = option(
        "choice", "any", choices=("any", "master", "replica"), doc="role that ROLE must report"
    )
    max_lag: float = option(
        "duration",
        0.0,
        min=0.0,
        max=864000,
        doc=(
            "maximum time since a replica last received data from its master; after that it is "
            "down; 0: no limit"
        ),
    )
    replicating: bool = option(
        "flag", False, doc="take down a replica whose link to its master is not up"
    )
    sentinel: tuple[Address, ...] = option(
        "list:address",
        (),
        doc="sentinels, by IP address: a master is up only if more than half of them name it",
        example="10.0.0.41:26379,10.0.0.42:26379,10.0.0.43:26379",
    )
    master: str = option(
        "string", "", doc="name of the master in the sentinels", example="mymaster"
    )
    sentinel_user: str = option("string", "", doc="ACL user for the sentinels")
    sentinel_password: str = password_option("password for the sentinels")
    sentinel_password_file: str = password_file_option("password for the sentinels")

    def __attrs_post_init__(self) -> None:
        verify_password(self.password, self.password_file)
        verify_password(self.sentinel_password, self.sentinel_password_file, "sentinel_password")
        if self.user and not (self.password or self.password_file):
            raise ValueError("user: needs a password")
        if bool(self.sentinel) != bool(self.master):
            raise ValueError("sentinel and master must be set together")
        if not self.sentinel and (self.sentinel_password or self.sentinel_password_file):
            raise ValueError("sentinel_password: there is no sentinel")
        if self.sentinel_user and not (self.sentinel_password or self.sentinel_password_file):
            raise ValueError("sentinel_user: needs a sentinel_password")
        for address in self.sentinel:
            if address.kind == "tcp" and not re.fullmatch(
                r"[0-9.]+|[0-9A-Fa-f:.]*:.*", address.host
            ):
                raise ValueError(f"sentinel: {address.host} is a name; write its IP address")
        if len(set(self.sentinel)) < len(self.sentinel):
            raise ValueError("sentinel: the same address twice would be two votes")
        if self.about_lag and self.role == "master":
            raise ValueError("max_lag and replicating are about replicas, and role is master")

    @property
    def about_lag(self) -> bool:
        """True if an option concerns replication."""
        return bool(self.max_lag or self.replicating)


class RedisProbe(Probe):
    """Healthy if the server answers PING and has the required role."""

    name: ClassVar[str] = "redis"
    Options: ClassVar[type[Any]] = RedisOptions

    def __init__(self, options: RedisOptions, env: Env) -> None:
        super().__init__(options, env)
        self._sentinels = None
        if options.sentinel:
            self._sentinels = Sentinels(options.sentinel, options.master, options.sentinel_user)

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        options: RedisOptions = self.options
        password = read_password(options.password, options.password_file)
        await authenticate(conversation, options.user, password)
        pong = await command(conversation, "PING")
        if pong != "PONG":
            raise Unhealthy(f"answered {shorten(str(pong), 40)!r}, wanted PONG")
        note = "PONG"
        if options.role != "any" or self._sentinels is not None or options.about_lag:
            note = await self._role(conversation, target)
        return note

    async def _role(self, conversation: Conversation, target: ProbeTarget) -> str:
        """Check the role that the server reports, then the sentinels.

        The first step is cheap, and usually sufficient because most servers are not the master.
        """
        options: RedisOptions = self.options
        reply = await command(conversation, "ROLE")
        match reply:
            case ["master", *_]:
                if options.role == "replica":
                    raise WrongRole("it is a master")
                if self._sentinels is not None:
                    master = await self._ask_sentinels(target)
                    if not is_master(target, master):
                        raise WrongRole(f"not the sentinels' master, which is {_shown(master)}")
                return "master"
            case ["slave", str(host), int(port), str(state), *_]:
                if options.role == "master" or (options.role == "any" and self._sentinels):
                    raise WrongRole(f"it is a replica of {shorten(host, 60)}:{port}")
                if options.about_lag and state != "connected":
                    raise Unhealthy(f"link to its master: {shorten(state, 20)}")
                if self._sentinels is not None:
                    master = await self._ask_sentinels(target)
                    if (host.lower(), port) != master:
                        words = f"a replica of {shorten(host, 60)}:{port}"
                        raise WrongRole(f"{words}, not of the sentinels' master {_shown(master)}")
                if options.max_lag:
                    await self._lag(conversation)
                return "replica"
        raise WrongRole(f"its role is {shorten(str(reply), 40)}")

    async def _ask_sentinels(self, target: ProbeTarget) -> Master:
        options: RedisOptions = self.options
        password = read_password(options.sentinel_password, options.sentinel_password_file)
        assert self._sentinels is not None
        return await self._sentinels.master(target, password)

    async def _lag(self, conversation: Conversation) -> None:
        options: RedisOptions = self.options
        info = await command(conversation, "INFO", "replication")
        lines = str(info).splitlines()
        fields = {key: value for key, colon, value in (one.partition(":") for one in lines)}
        silent = fields.get("master_last_io_seconds_ago", "")
        if not re.fullmatch("[0-9]{1,9}", silent):
            raise Unhealthy("does not know when it heard of its master")
        if int(silent) > options.max_lag:
            raise Unhealthy(
                f"heard nothing of its master for {silent} s, at most {options.max_lag:g} s wanted"
            )


def _shown(master: Master) -> str:
    return f"{shorten(master[0], 60)}:{master[1]}"
