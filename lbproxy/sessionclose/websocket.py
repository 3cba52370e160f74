"""PURE. Clean end of WebSocket sessions (RFC 6455): a Close frame with status 1012 (service
restart) between two messages.

The browser's ``onclose`` gets code 1012, after which libraries reconnect. The server gets 1001
(going away), as if from the client. Extensions change only the content of data frames, which is not
read here.
"""

from __future__ import annotations

from lbproxy.sessionclose.base import Frames, SessionClose

__all__ = ["WebSocketClose"]

_CONTINUATION, _CLOSE = 0x0, 0x8
_OPCODES = frozenset((0x0, 0x1, 0x2, 0x8, 0x9, 0xA))
_RESTART, _GOING_AWAY = 1012, 1001


class _Direction:
    """The messages of one side. ``masked``: as clients must send (§5.1)."""

    __slots__ = ("_masked", "closing", "frames", "open")

    def __init__(self, masked: bool) -> None:
        self._masked = masked
        self.open = False  # a message has started, and its last frame has not arrived
        self.closing = False
        self.frames = Frames(self._length, self._done)

    def _length(self, header: bytes) -> int:
        if len(header) < 2:
            return -1
        masked, short = header[1] >= 0x80, header[1] & 0x7F
        opcode = header[0] & 0x0F
        if masked is not self._masked or opcode not in _OPCODES:
            raise ValueError("not WebSocket")
        if opcode >= _CLOSE and (short > 125 or header[0] < 0x80):
            raise ValueError("control frames are short and whole")
        wide = {126: 2, 127: 8}.get(short, 0)
        if len(header) < 2 + wide:
            return -1
        size = int.from_bytes(header[2:], "big") if wide else short
        return size + (4 if masked else 0)

    def _done(self, header: bytes, body: bytes) -> None:
        opcode, final = header[0] & 0x0F, header[0] >= 0x80
        if opcode == _CLOSE:
            self.closing = True
        elif opcode < _CLOSE:
            if (opcode == _CONTINUATION) is not self.open:
                raise ValueError("not the frame that has to follow")
            self.open = not final

    @property
    def between(self) -> bool:
        return self.frames.between and not self.open and not self.closing


class WebSocketClose(SessionClose):
    """Ends a session while no message is incomplete in either direction and neither side has sent
    Close.
    """

    name = "websocket"

    def __init__(self) -> None:
        self._client = _Direction(masked=True)
        self._server = _Direction(masked=False)
        self.from_client = self._client.frames.feed  # type: ignore[method-assign]
        self.from_server = self._server.frames.feed  # type: ignore[method-assign]

    @property
    def polite(self) -> bool:
        """See :class:`SessionClose`."""
        return self._client.between and self._server.between

    def words(self, mask: bytes) -> tuple[bytes, bytes]:
        """See :class:`SessionClose`; frames to a server are masked (§5.3)."""
        hidden = bytes(a ^ b for a, b in zip(_GOING_AWAY.to_bytes(2, "big"), mask, strict=False))
        return b"\x88\x02" + _RESTART.to_bytes(2, "big"), b"\x88\x82" + mask + hidden
