"""CONTROL. The ``smtp`` check: greeting, EHLO, optional STARTTLS, QUIT (RFC 5321, RFC 3207).

Found by :mod:`lbproxy.registry` under its name.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.interfaces import Env
from lbproxy.probes.base import Conversation, Probe, ProbeTarget, Unhealthy, shown

__all__ = ["SmtpOptions", "SmtpProbe"]

LINES = 100
"""Maximum number of lines of a reply."""

_REPLY = re.compile(rb"([2-5][0-9]{2})([ -]|$)(.*)", re.DOTALL)


@frozen
class SmtpOptions:
    """Options of ``check = smtp``."""

    helo: str = option("string", "localhost", doc="name in the greeting")
    starttls: bool = option(
        "flag",
        False,
        doc="continue in TLS after STARTTLS; the certificate is verified as for ``check = tls``",
    )

    def __attrs_post_init__(self) -> None:
        if not re.fullmatch(r"[!-~]{1,255}", self.helo):
            raise ValueError(f"helo: {self.helo[:80]!r} is not a name")


class SmtpProbe(Probe):
    """Healthy if the server greets with 220, accepts EHLO (or HELO) and, with ``starttls``,
    continues in TLS.

    The check sends no mail. Without ``starttls``, TLS of the server line or the check begins with
    the connection, as on port 465.
    """

    name: ClassVar[str] = "smtp"
    Options: ClassVar[type[Any]] = SmtpOptions

    def __init__(self, options: SmtpOptions, env: Env) -> None:
        super().__init__(options, env)
        self.clear = self.secure = options.starttls

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        code, lines = await _reply(conversation)
        greeting = lines[0]
        if code != 220:
            raise Unhealthy(f"greeted with {code} {greeting}")
        extensions = await self._hello(conversation)
        if self.options.starttls:
            if "STARTTLS" not in extensions:
                raise Unhealthy("offers no STARTTLS")
            await _ask(conversation, "STARTTLS", 220)
            assert target.tls is not None
            await conversation.start_tls(target.tls, target.timeout)
            await self._hello(conversation)
        await _ask(conversation, "QUIT", 221)
        return f"220 {greeting}"

    async def _hello(self, conversation: Conversation) -> set[str]:
        """Return the extensions offered by EHLO; empty if only HELO is supported."""
        name = self.options.helo
        code, lines = await _command(conversation, f"EHLO {name}")
        if code in (500, 501, 502, 504):
            await _ask(conversation, f"HELO {name}", 250)
            return set()
        if code != 250:
            raise Unhealthy(f"answered EHLO with {code} {lines[0]}")
        return {line.split(" ")[0].upper() for line in lines[1:]}


async def _ask(conversation: Conversation, command: str, wanted: int) -> None:
    code, lines = await _command(conversation, command)
    if code != wanted:
        raise Unhealthy(f"answered {command.split(maxsplit=1)[0]} with {code} {lines[0]}")


async def _command(conversation: Conversation, command: str) -> tuple[int, list[str]]:
    conversation.send(command.encode("ascii") + b"\r\n")
    return await _reply(conversation)


async def _reply(conversation: Conversation) -> tuple[int, list[str]]:
    """Return the code and the texts of a reply of one or several lines (RFC 5321 §4.2.1)."""
    texts: list[str] = []
    codes: set[bytes] = set()
    while len(texts) < LINES:
        line = await conversation.receive_line()
        found = _REPLY.fullmatch(line)
        if found is None:
            raise Unhealthy(f"does not speak SMTP: {shown(line)}")
        codes.add(found[1])
        texts.append(found[3].decode("utf-8", "replace").strip()[:100])
        if len(codes) > 1:
            raise Unhealthy("sent a reply of several codes")
        if found[2] != b"-":
            return int(found[1]), texts
    raise Unhealthy(f"sent a reply of more than {LINES} lines")
