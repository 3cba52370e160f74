"""DATA. A test whether a slow peer still reads, used only when a deadline passes."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor

__all__ = ["taken_since", "unsent_bytes"]


def unsent_bytes(transport: Any) -> int:
    """Return the number of bytes written to ``transport`` that the system has not accepted yet; 0
    if unknown.
    """
    own: int | None = getattr(transport, "buffered_bytes", None)
    if own is not None:
        return own
    below = getattr(transport, "transport", None)  # a TLS layer
    if below is not None:
        return unsent_bytes(below)
    if isinstance(transport, FileDescriptor):
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return 0


def taken_since(transport: Any, before: int) -> int:
    """Return the number of unsent bytes if the peer has read some of ``before`` bytes but not all,
    else 0.
    """
    left = unsent_bytes(transport)
    return left if 0 < left < before else 0
