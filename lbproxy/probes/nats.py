"""CONTROL. The ``nats`` check: INFO, CONNECT, PING, PONG.

Found by :mod:`lbproxy.registry` under its name.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.interfaces import Env
from lbproxy.probes.base import Conversation, Draining, Probe, ProbeTarget, Unhealthy, shown
from lbproxy.probes.credentials import (
    password_file_option,
    password_option,
    read_password,
    verify_password,
)

__all__ = ["NatsOptions", "NatsProbe"]

INFO_BYTES = 32 * 1024
"""Maximum length of INFO, which lists every server of a cluster."""

LINES = 20
"""Maximum number of lines before PONG."""


@frozen
class NatsOptions:
    """Options of ``check = nats``."""

    user: str = option("string", "", doc="user to log in as", example="lbproxy")
    password: str = password_option("its password")
    password_file: str = password_file_option()
    token: str = password_option("token to log in with, in place of a user")
    tls_first: bool = option(
        "flag",
        False,
        doc="TLS begins with the connection (``handshake_first``), not after INFO",
    )

    def __attrs_post_init__(self) -> None:
        verify_password(self.password, self.password_file)
        if self.token and self.user:
            raise ValueError("token: write either a token or a user")
        if (self.password or self.password_file) and not self.user:
            raise ValueError("password: there is no user")


class NatsProbe(Probe):
    """Healthy if the server accepts the login and answers a PING.

    A server that reports lame duck mode is drained: it gets no new connections and keeps existing
    ones.
    """

    name: ClassVar[str] = "nats"
    Options: ClassVar[type[Any]] = NatsOptions

    def __init__(self, options: NatsOptions, env: Env) -> None:
        super().__init__(options, env)
        self.clear = not options.tls_first
        self.secure = options.tls_first

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        info = _info(await conversation.receive_line(INFO_BYTES))
        if self.clear:
            await _secure(conversation, target, info)
        login = json.dumps(self._login(target), separators=(",", ":"))
        conversation.send(f"CONNECT {login}\r\nPING\r\n".encode())
        info = await _pong(conversation, info)
        version = str(info.get("version", ""))[:40]
        if info.get("ldm") is True:
            raise Draining("lame duck")
        return f"NATS {version}".strip()

    def _login(self, target: ProbeTarget) -> dict[str, Any]:
        options: NatsOptions = self.options
        login: dict[str, Any] = {
            "verbose": False,
            "pedantic": False,
            "tls_required": target.tls is not None,
            "name": "lbproxy check",
            "lang": "python",
            "version": "1",
            "protocol": 1,  # the client accepts INFO at any time
        }
        if options.token:
            login["auth_token"] = options.token
        if options.user:
            login["user"] = options.user
            login["pass"] = read_password(options.password, options.password_file)
        return login


async def _secure(conversation: Conversation, target: ProbeTarget, info: dict[str, Any]) -> None:
    offered = bool(info.get("tls_required") or info.get("tls_available"))
    if target.tls is None:
        if info.get("tls_required"):
            raise Unhealthy("wants TLS; add tls to the check")
    elif not offered:
        raise Unhealthy("offers no TLS")
    else:
        await conversation.start_tls(target.tls, target.timeout)


async def _pong(conversation: Conversation, info: dict[str, Any]) -> dict[str, Any]:
    """Wait for PONG, and return the latest INFO."""
    for _ in range(LINES):
        line = await conversation.receive_line(INFO_BYTES)
        word = line.split(b" ", 1)[0].upper()
        if word == b"PONG":
            return info
        if word == b"INFO":
            info = _info(line)
        elif word == b"PING":
            conversation.send(b"PONG\r\n")
        elif word == b"-ERR":
            raise Unhealthy(line[5:].decode("utf-8", "replace").strip("' ")[:200])
        elif word != b"+OK":
            raise Unhealthy(f"does not speak NATS: {shown(line)}")
    raise Unhealthy("says much, but not PONG")


def _info(line: bytes) -> dict[str, Any]:
    if line[:5].upper() != b"INFO ":
        raise Unhealthy(f"does not speak NATS: {shown(line)}")
    try:
        found = json.loads(line[5:])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unhealthy(f"INFO is not an object: {shown(line)}")
    return found
