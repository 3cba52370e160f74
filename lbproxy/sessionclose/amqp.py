"""PURE. Clean end of AMQP 0-9-1 sessions.

It sends ``connection.close`` with reply code 320 (connection forced) between two frames.

RabbitMQ itself sends this when an operator closes a connection, so client libraries that recover do
so here too. Unacknowledged deliveries return to their queue. AMQP 1.0 is another protocol, whose
sessions are never at a safe point.
"""

from __future__ import annotations

import struct

from lbproxy.sessionclose.base import Frames, SessionClose

__all__ = ["AMQPClose"]

_PREAMBLE = b"AMQP\x00\x00\x09\x01"
_METHOD, _HEADER, _BODY = 1, 2, 3
_TYPES = frozenset((_METHOD, _HEADER, _BODY, 8))
_OPEN_OK, _CLOSE = b"\x00\x0a\x00\x29", b"\x00\x0a\x00\x32"
_CARRY = frozenset(  # methods followed by content: basic.publish, return, deliver, get-ok
    b"\x00\x3c" + method for method in (b"\x00\x28", b"\x00\x32", b"\x00\x3c", b"\x00\x47")
)


def _close(code: int, text: bytes) -> bytes:
    payload = _CLOSE + struct.pack("!HB", code, len(text)) + text + b"\x00\x00\x00\x00"
    return struct.pack("!BHI", _METHOD, 0, len(payload)) + payload + b"\xce"


class _Direction:
    """The frames of one side. ``content``: the last frame announces that more of its message
    follows.
    """

    __slots__ = ("_left", "closing", "content", "frames", "opened")

    def __init__(self) -> None:
        self.opened = self.closing = self.content = False
        self._left = 0
        self.frames = Frames(self._length, self._done, keep=12)

    @staticmethod
    def _length(header: bytes) -> int:
        if header[0] not in _TYPES:
            raise ValueError("not AMQP 0-9-1")
        return -1 if len(header) < 7 else int.from_bytes(header[3:7], "big") + 1  # the end octet

    def _done(self, header: bytes, body: bytes) -> None:
        kind = header[0]
        if kind == _METHOD:
            method = body[:4]
            self.opened |= method == _OPEN_OK
            self.closing |= method == _CLOSE
            self.content, self._left = method in _CARRY, 0
        elif kind == _HEADER:
            self._left = int.from_bytes(body[4:12], "big")
            self.content = self._left > 0
        elif kind == _BODY:
            self._left -= int.from_bytes(header[3:7], "big")
            self.content = self._left > 0

    @property
    def between(self) -> bool:
        return self.frames.between and not self.content and not self.closing


class AMQPClose(SessionClose):
    """Ends a session when the connection is open and the last message in each direction is
    complete.
    """

    name = "amqp"

    def __init__(self) -> None:
        self._preamble = b""
        self._client = _Direction()
        self._server = _Direction()
        self.from_server = self._server.frames.feed  # type: ignore[method-assign]

    def from_client(self, data: bytes) -> None:
        """See :class:`SessionClose`."""
        want = len(_PREAMBLE) - len(self._preamble)
        if want:
            self._preamble += data[:want]
            data = data[want:]
            if not _PREAMBLE.startswith(self._preamble):
                self._client.frames.broken = True
        self._client.frames.feed(data)

    @property
    def polite(self) -> bool:
        """See :class:`SessionClose`."""
        return self._server.opened and self._client.between and self._server.between

    def words(self, mask: bytes) -> tuple[bytes, bytes]:
        """See :class:`SessionClose`."""
        return _close(320, b"CONNECTION_FORCED - moved to another server"), _close(200, b"Goodbye")
