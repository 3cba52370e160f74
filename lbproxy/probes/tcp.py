"""CONTROL. The ``tcp`` check: does it accept a connection, and optionally, does it say the right thing?

Found by :mod:`lbproxy.registry` under its name.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from attrs import field, frozen

from lbproxy.config.model import option
from lbproxy.interfaces import Env
from lbproxy.probes.base import Conversation, Probe, ProbeTarget, Unhealthy, unescape

__all__ = ["TcpOptions", "TcpProbe"]

ANSWER_BYTES = 16 * 1024
"""``expect`` must match within this much."""


def expectation(text: str) -> re.Pattern[bytes]:
    r"""``~PATTERN`` as a regular expression on bytes, anything else (with escapes) as itself.  ValueError."""
    if not text.startswith("~"):
        return re.compile(re.escape(unescape(text)))
    try:
        return re.compile(text[1:].encode(), re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text[1:81]!r} is not a regular expression: {error}") from None


@frozen
class TcpOptions:
    """Words after ``check = tcp``."""

    send: str = option(
        "string",
        "",
        doc=r"bytes sent after connecting; ``\r \n \t \0 \\ \xHH`` are escapes",
        example=r"PING\r\n",
    )
    expect: str = option(
        "string",
        "",
        doc="what must come within the first 16 KiB: bytes with these escapes, or ``~`` and a regular expression",
        example="+PONG",
    )
    no_tls: bool = option(
        "flag", False, doc="check in the clear even if the server's line says tls"
    )
    wanted: re.Pattern[bytes] | None = field(
        init=False, eq=False, repr=False, metadata={"kind": "hidden"}
    )
    message: bytes = field(init=False, eq=False, repr=False, metadata={"kind": "hidden"})

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "message", unescape(self.send))
        object.__setattr__(self, "wanted", expectation(self.expect) if self.expect else None)


class TcpProbe(Probe):
    """Healthy: it accepts a connection and, if ``expect`` is given, answers it."""

    name: ClassVar[str] = "tcp"
    Options: ClassVar[type[Any]] = TcpOptions

    def __init__(self, options: TcpOptions, env: Env) -> None:
        super().__init__(options, env)
        self.clear = options.no_tls
        self._send = options.message
        self._wanted = options.wanted

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        if self._send:
            conversation.send(self._send)
        if self._wanted is None:
            return "connected"
        answer = b""
        while len(answer) < ANSWER_BYTES:
            data = await conversation.receive()
            if not data:
                raise Unhealthy(f"closed after {_shown(answer)}, wanted {self.options.expect!r}")
            answer = (answer + data)[:ANSWER_BYTES]
            if self._wanted.search(answer):
                return f"answered {_shown(answer)}"
        raise Unhealthy(f"answered {_shown(answer)}, wanted {self.options.expect!r}")


def _shown(data: bytes) -> str:
    if not data:
        return "nothing"
    text = repr(data[:40])[1:]
    return text if len(data) <= 40 else f"{text}..."
