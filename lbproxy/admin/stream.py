"""CONTROL. Server-sent events: endless responses to several clients, buffered only within bounds.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

__all__ = ["MAX_STREAMS", "RESERVED_STREAMS", "AdminStream", "Follower", "event", "merge_patch"]

MAX_STREAMS = 50
"""Maximum number of open streams."""

RESERVED_STREAMS = 10
"""Number of them that callers with the role ``read`` cannot use."""

BEHIND = 30.0
"""Seconds after which a client that reads nothing is disconnected."""

HELD = 1000
"""Maximum number of events buffered for a slow client. Beyond it the client is disconnected, and
may resume after the last event that it received.
"""

HELD_BYTES = 256 * 1024
"""Maximum size of these events together in bytes."""


def event(kind: str, data: Any, number: int = 0) -> bytes:
    """Return the bytes of a server-sent event. A client returns ``number`` as Last-Event-ID."""
    text = json.dumps(data, separators=(",", ":"))
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {kind}\ndata: {text}\n\n".encode()


PING = b": \n\n"
"""An empty message, which lets both ends detect a lost connection."""


class AdminStream:
    """An endless response. ``begin(follower)`` is called once and returns a function that ends
    it.
    """

    def __init__(self, begin: Callable[[Follower], Callable[[], None]]) -> None:
        self.begin = begin


@implementer(IPushProducer)
class Follower:
    """The client of a stream; ``send`` sends it an event.

    ``write`` and ``close`` are those of its connection, ``later`` is the reactor's ``callLater``.
    While the client reads nothing, events are buffered up to :data:`HELD` and :data:`HELD_BYTES`,
    for at most :data:`BEHIND` seconds.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        close: Callable[[], None],
        later: Callable[..., Any],
    ) -> None:
        self._write = write
        self._close = close
        self._later = later
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._paused = False
        self._patience: Any = None
        self._ping: Any = None
        self._end: Callable[[], None] | None = None
        self.over = False

    def start(self, stream: AdminStream) -> None:
        """Start to follow."""
        self._end = stream.begin(self)
        self._tick()

    def _tick(self) -> None:
        self._ping = self._later(15.0, self._tick)
        if not self._paused:
            self._write(PING)

    def send(self, data: bytes) -> None:
        """Send an event."""
        if self.over:
            return
        if not self._paused:
            self._write(data)
            return
        self._held_bytes += len(data)
        if len(self._held) >= HELD or self._held_bytes > HELD_BYTES:
            self.stop()
        else:
            self._held.append(data)

    def replace(self, data: bytes) -> bool:
        """Send an event that replaces all previous ones. Return False without sending it while the
        client does not read.
        """
        if self._paused or self.over:
            return False
        self._write(data)
        return True

    def stop(self) -> None:
        """End the stream from our side."""
        if not self.over:
            self.lost()
            self._close()

    def lost(self) -> None:
        """Handle the loss of the connection."""
        self.over = True
        self._held.clear()
        for call in (self._ping, self._patience):
            if call is not None and call.active():
                call.cancel()
        end, self._end = self._end, None
        if end is not None:
            end()

    # -- IPushProducer --------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Buffer events, because the client does not read."""
        if not self._paused and not self.over:
            self._paused = True
            self._patience = self._later(BEHIND, self.stop)

    def resumeProducing(self) -> None:
        """Send the buffered events."""
        if self.over:
            return
        self._paused = False
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        held, self._held = self._held, []
        self._held_bytes = 0
        if held:
            self._write(b"".join(held))

    def stopProducing(self) -> None:
        """Stop sending: the connection is closed."""
        self._paused = True


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Merge Patch (RFC 7396) from ``old`` to ``new``; empty if they are equal.

    A value of ``new`` must not be None inside an object that changes: null there means that a key
    is removed.
    """
    patch: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key, _NOTHING)
        if value == before:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            patch[key] = merge_patch(before, value)
        else:
            patch[key] = value
    for key in old:
        if key not in new:
            patch[key] = None
    return patch


_NOTHING = object()
