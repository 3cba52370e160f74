"""CONTROL. Reads the line that a server's agent sends; :mod:`lbproxy.checks.agents` applies it.

This is not a check: a backend can have both ``agent = PORT`` and ``check``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen

from lbproxy.probes.base import Conversation, Probe, ProbeTarget, Unhealthy

__all__ = ["AgentOptions", "AgentProbe"]

LINE_BYTES = 1024


@frozen
class AgentOptions:
    """``send``: text to send to the agent first, "" for nothing."""

    send: str = ""


class AgentProbe(Probe):
    """The note is the agent's line: up to a line end, or everything until the agent closes."""

    name: ClassVar[str] = "agent"
    Options: ClassVar[type[Any]] = AgentOptions
    clear = True

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        if self.options.send:
            conversation.send(self.options.send.encode())
        line = b""
        while len(line) <= LINE_BYTES:
            data = await conversation.receive()
            line += data
            if not data or b"\n" in data or b"\r" in data:
                words = line.replace(b"\r", b"\n").split(b"\n", 1)[0]
                return words.decode("utf-8", "replace")
        raise Unhealthy(f"sent a line of more than {LINE_BYTES} bytes")
