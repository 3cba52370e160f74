"""CONTROL. The part of the Redis protocol (RESP2) that a check needs: one command, one reply.

Used by :mod:`lbproxy.probes.redis` and :mod:`lbproxy.probes.sentinel`. Lengths, counts and depth
are bounded.
"""

from __future__ import annotations

import re
from typing import Any

from lbproxy.probes.base import Conversation, Unhealthy, shown
from lbproxy.probes.notes import shorten

__all__ = ["RedisError", "authenticate", "command"]

BULK_BYTES = 64 * 1024
_ITEMS = 1000
_DEPTH = 4
_NUMBER = re.compile(rb"-?[0-9]{1,18}")


class RedisError(Unhealthy):
    """The server answered with an error, such as ``LOADING`` or ``NOAUTH``."""


async def command(conversation: Conversation, *words: str) -> Any:
    """Send a command, and return the reply: str, int, None or a list of these.

    Raises :class:`RedisError` or :class:`Unhealthy`.
    """
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode()
        out.append(b"$%d\r\n%s\r\n" % (len(data), data))
    conversation.send(b"".join(out))
    return await _reply(conversation, 0)


async def authenticate(conversation: Conversation, user: str, password: str) -> None:
    """Send AUTH if a password is configured."""
    if password:
        await command(conversation, "AUTH", *((user,) if user else ()), password)


async def _reply(conversation: Conversation, depth: int) -> Any:
    line = await conversation.receive_line(4096)
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest.decode(errors="replace")
    if kind == b"-":
        raise RedisError(shorten(rest.decode(errors="replace")) or "an error without words")
    if kind not in (b":", b"$", b"*") or not _NUMBER.fullmatch(rest):
        raise Unhealthy(f"does not speak Redis: {shown(line)}")
    number = int(rest)
    if kind == b":":
        return number
    if number < 0:
        return None
    if number > (BULK_BYTES if kind == b"$" else _ITEMS) or depth >= _DEPTH:
        raise Unhealthy(f"sent a reply that is too large: {shown(line)}")
    if kind == b"*":
        return [await _reply(conversation, depth + 1) for _ in range(number)]
    data = await conversation.receive_exactly(number + 2)
    if not data.endswith(b"\r\n"):
        raise Unhealthy("sent a malformed reply")
    return data[:-2].decode(errors="replace")
