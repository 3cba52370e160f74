"""PURE. The contract for ending a session in its own protocol, and a parser of length-prefixed
frames, which most protocols need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

__all__ = ["Frames", "SessionClose"]


class SessionClose:
    """Follows one session, and decides when it may be ended and with which messages.

    It receives every byte in both directions, in the order in which lbproxy forwards them. The
    result does not depend on how the bytes are split. The state is bounded, and no method raises: a
    session that does not speak the protocol is never at a safe point. The caller measures the
    silence of the session.
    """

    name: ClassVar[str] = ""

    @property
    def polite(self) -> bool:
        """Return whether the session is at a safe point, so that :meth:`words` can end it without
        unexpected loss.
        """
        return True

    def from_client(self, data: bytes) -> None:
        """Receive bytes on their way to the server."""

    def from_server(self, data: bytes) -> None:
        """Receive bytes on their way to the client."""

    def words(self, mask: bytes) -> tuple[bytes, bytes]:
        """Return the closing messages for the client and for the server. ``mask``: four random
        bytes.
        """
        return b"", b""


class Frames:
    """One direction as frames: a header with the length of the body that follows.

    ``length(header)`` gets the bytes of a header received so far, and returns the length of the
    body, or -1 while the header is incomplete. ``done(header, body)`` gets each complete frame,
    with the first ``keep`` bytes of its body. Either may raise ValueError: the stream is then
    ``broken``, and the rest is not parsed.
    """

    __slots__ = ("_body", "_done", "_header", "_keep", "_left", "_length", "broken")

    def __init__(
        self,
        length: Callable[[bytes], int],
        done: Callable[[bytes, bytes], None],
        keep: int = 0,
    ) -> None:
        self.broken = False
        self._length = length
        self._done = done
        self._keep = keep
        self._header = b""
        self._body = b""
        self._left = -1  # of the body; -1: in the header

    @property
    def between(self) -> bool:
        """True if the stream is at the end of a frame, or before the first one."""
        return not self._header and not self.broken

    def feed(self, data: bytes) -> None:
        """Receive more bytes."""
        at, end = 0, len(data)
        try:
            while at < end and not self.broken:
                if self._left < 0:
                    self._header += data[at : at + 1]
                    at += 1
                    self._left = self._length(self._header)
                else:
                    piece = min(self._left, end - at)
                    want = self._keep - len(self._body)
                    if want > 0:
                        self._body += data[at : at + min(want, piece)]
                    at += piece
                    self._left -= piece
                if self._left == 0:
                    header, body = self._header, self._body
                    self._header, self._body, self._left = b"", b"", -1
                    self._done(header, body)
        except ValueError:
            self.broken = True
