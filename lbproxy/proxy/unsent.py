"""DATA. Whether a peer that is slow to read still reads; asked when a deadline passes, never before."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor

__all__ = ["unsent_bytes"]


def unsent_bytes(transport: Any) -> int:
    """Bytes written to ``transport`` that the system has not taken yet; 0 where that cannot be told."""
    own: int | None = getattr(transport, "buffered_bytes", None)
    if own is not None:
        return own
    below = getattr(transport, "transport", None)  # a TLS layer
    if below is not None:
        return unsent_bytes(below)
    if isinstance(transport, FileDescriptor):
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return 0
