"""DATA. The chunks that a transport has yet to send: bytes, small writes gathered, and at most one
pipe.

Functions on a deque instead of a class around one: a transport that has nothing to send owns no
buffer, and one that sends a record per turn makes nothing but the deque.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from lbproxy.net.handler import Handler

__all__ = ["GATHER_BYTES", "SMALL_BYTES", "PipeChunk", "add", "gather", "remove"]

SMALL_BYTES: Final = 1024
"""Writes up to this size are copied into a chunk that grows."""

GATHER_BYTES: Final = 16 * 1024
"""The size such a chunk may reach."""


class PipeChunk(Handler):
    """Bytes in a pipe of the kernel (:class:`lbproxy.net.relay.Relay`): only ever the first chunk.

    ``left``: how many."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0

    def __len__(self) -> int:
        """Bytes in the pipe."""
        return self.left

    def flush(self) -> int:
        """Send; how many bytes were taken.  OSError as ``send`` has it, but never "try again"."""
        raise NotImplementedError

    def over(self) -> None:
        """Note that the pipe gets no more data; its content is still to be sent."""
        raise NotImplementedError

    def lose(self) -> None:
        """Discard the data in the pipe."""
        raise NotImplementedError


def add(pending: deque[Any], data: Any) -> None:
    """Append ``data``, which its owner may change afterwards unless it is bytes or a read-only
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
    """The first chunk, made ``size`` bytes long by those after it if there are as many.

    The bytes at the beginning of the buffer stay there."""
    found = len(pending[0])
    if found >= size:
        return pending[0]
    parts = [pending.popleft()]
    while pending and found < size:
        part = pending.popleft()
        parts.append(part)
        found += len(part)
    joined = b"".join(parts)
    pending.appendleft(joined)
    return joined
