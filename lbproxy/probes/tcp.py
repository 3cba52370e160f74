"""CONTROL. The ``tcp`` check: the server accepts a connection, and optionally sends the expected
data.

Found by :mod:`lbproxy.registry` under its name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.interfaces import Env
from lbproxy.probes.base import (
    Probe,
    ProbeTarget,
    Unhealthy,
    hidden,
    shown,
    unescape,
)

if TYPE_CHECKING:
    from lbproxy.probes.conversation import Conversation

__all__ = ["TcpOptions", "TcpProbe"]

ANSWER_BYTES = 16 * 1024
"""Number of bytes within which each ``expect`` must match."""


def expectation(text: str) -> re.Pattern[bytes]:
    r"""Compile ``~PATTERN`` as a regular expression on bytes, other text (with escapes) literally.

    Raises ValueError.
    """
    if not text.startswith("~"):
        return re.compile(re.escape(unescape(text)))
    try:
        return re.compile(text[1:].encode(), re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text[1:81]!r} is not a regular expression: {error}") from None


@frozen
class DialogueStep:
    """A step of a dialogue: bytes to send, or the expected text, compiled and as written."""

    message: bytes = b""
    wanted: re.Pattern[bytes] | None = None
    text: str = ""


def _step(word: str) -> DialogueStep:
    verb, colon, text = word.partition(":")
    if verb not in ("send", "expect") or not colon or not text:
        raise ValueError(f"{word[:80]!r} is no step; write send:BYTES or expect:BYTES")
    return (
        DialogueStep(unescape(text))
        if verb == "send"
        else DialogueStep(wanted=expectation(text), text=text)
    )


@frozen
class TcpOptions:
    """Options of ``check = tcp``."""

    steps: tuple[str, ...] = option(
        "string",
        (),
        doc="longer dialogue: ``send:BYTES`` and ``expect:BYTES``, in the order in which they run",
        positional="rest",
        example=r"expect:~^220 send:QUIT\r\n expect:~^221",
    )
    send: str = option(
        "string",
        "",
        doc=r"bytes to send after connecting; ``\r \n \t \0 \\ \xHH`` are escapes",
        example=r"PING\r\n",
    )
    expect: str = option(
        "string",
        "",
        doc=(
            "what the first 16 KiB must contain: bytes with these escapes, or ``~`` and a "
            "regular expression"
        ),
        example="+PONG",
    )
    script: tuple[DialogueStep, ...] = hidden()

    def __attrs_post_init__(self) -> None:
        if self.steps and (self.send or self.expect):
            raise ValueError("write either steps (send:... expect:...) or send= and expect=")
        script = [_step(word) for word in self.steps]
        if self.send:
            script.append(DialogueStep(unescape(self.send)))
        if self.expect:
            script.append(DialogueStep(wanted=expectation(self.expect), text=self.expect))
        object.__setattr__(self, "script", tuple(script))


class TcpProbe(Probe):
    """Healthy if the server accepts a connection and sends the expected data.

    A ``send`` discards the data received before it. An ``expect`` after an ``expect`` searches
    after the previous match.
    """

    name: ClassVar[str] = "tcp"
    Options: ClassVar[type[Any]] = TcpOptions

    def __init__(self, options: TcpOptions, env: Env) -> None:
        super().__init__(options, env)
        self._script = options.script

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        note = "connected"
        answer = b""
        for step in self._script:
            if step.wanted is None:
                answer = b""
                conversation.send(step.message)
                continue
            answer, found = await self._expect(conversation, step, answer)
            note = f"answered {shown(answer)}"
            answer = answer[found:]
        return note

    async def _expect(
        self, conversation: Conversation, step: DialogueStep, answer: bytes
    ) -> tuple[bytes, int]:
        """Return the answer so far, and the position in it where the match ends."""
        assert step.wanted is not None
        while True:
            found = step.wanted.search(answer)
            if found:
                return answer, found.end()
            if len(answer) >= ANSWER_BYTES:
                raise Unhealthy(f"answered {shown(answer)}, wanted {step.text!r}")
            data = await conversation.receive()
            if not data:
                raise Unhealthy(f"closed after {shown(answer)}, wanted {step.text!r}")
            answer = (answer + data)[:ANSWER_BYTES]
