"""DATA. The chunks that a transport has yet to send: bytes, combined small writes, and at most one
pipe.

The module has functions on a deque instead of a class around one. A transport with nothing to send
owns no buffer, and a transport that sends one record per turn creates only the deque.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from lbproxy.net.handler import Handler

__all__ = ["GATHER_BYTES", "SMALL_BYTES", "PipeChunk", "add", "gather", "remove"]

SMALL_BYTES: Final = 1024
"""Writes up to this size are copied into a growing chunk."""

GATHER_BYTES: Final = 16 * 1024
"""Maximum size of such a chunk."""


class PipeChunk(Handler):
    """Bytes in a pipe of the kernel (:class:`lbproxy.net.relay.Relay`). It is always the first
    chunk.

    ``left``: number of bytes in it.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0

    def __len__(self) -> int:
        """Return the number of bytes in the pipe."""
        return self.left

    def flush(self) -> int:
        """Send, and return the number of bytes sent. Raises OSError like ``send``, except for "try
        again".
        """
        raise NotImplementedError

    def over(self) -> None:
        """Note that the pipe gets no more data; its content is still to be sent."""
        raise NotImplementedError

    def lose(self) -> None:
        """Discard the data in the pipe."""
        raise NotImplementedError


def add(pending: deque[Any], data: Any) -> None:
    """Append ``data``. Its owner may change it afterwards, unless it is bytes or a read-only
    view.
    """
    size = len(data)
    last = pending[-1] if pending else None
    if type(last) is bytearray and len(last) + size <= GATHER_BYTES:
        last += data
    elif size <= SMALL_BYTES:
        pending.append(bytearray(data))
    elif type(data) is bytes or (type(data) is memoryview and data.readonly):
        pending.append(data)
    else:
        pending.append(bytes(data))


def remove(pending: deque[Any], sent: int) -> None:
    """Drop the first ``sent`` bytes."""
    while sent:
        chunk = pending[0]
        size = len(chunk)
        if size <= sent:
            pending.popleft()
            sent -= size
            continue
        if type(chunk) is bytearray:
            del chunk[:sent]
        else:
            pending[0] = memoryview(chunk)[sent:]
        return


def gather(pending: deque[Any], size: int) -> Any:
    """Return the first chunk, extended to ``size`` bytes by those after it if enough exist.

    The bytes stay in the buffer. A large chunk is split, so that no more than ``size`` bytes of it
    are copied.
    """
    found = len(pending[0])
    if found >= size:
        return pending[0]
    parts = [pending.popleft()]
    while pending and found < size:
        part = pending.popleft()
        if len(part) > size and type(part) is not bytearray:  # which may still grow
            rest = memoryview(part)
            part = rest[: size - found]
            pending.appendleft(rest[size - found :])
        parts.append(part)
        found += len(part)
    joined = b"".join(parts)
    pending.appendleft(joined)
    return joined
