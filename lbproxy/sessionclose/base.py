"""PURE. The contract of a session close, and the reading of length-prefixed frames that most of them need."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

__all__ = ["Frames", "SessionClose"]


class SessionClose:
    """Follows one session; says when it may be ended, and with which words.

    Told of every byte, in both directions, in the order in which lbproxy passes them on; however the bytes are cut
    into pieces, the verdict is the same.  Keeps a bounded state and raises nothing: a session that does not speak the
    protocol is never polite.  The length of the silence is not its business.
    """

    name: ClassVar[str] = ""

    @property
    def polite(self) -> bool:
        """Nothing is lost that the protocol does not expect to lose, if the session ends now with :meth:`words`."""
        return True

    def from_client(self, data: bytes) -> None:
        """Bytes on their way to the server."""

    def from_server(self, data: bytes) -> None:
        """Bytes on their way to the client."""

    def words(self, mask: bytes) -> tuple[bytes, bytes]:
        """What to send to the client and to the server before both are closed.  ``mask``: four random bytes."""
        return b"", b""


class Frames:
    """One direction as frames: a header that tells how much follows.

    ``length(header)`` gets what there is of a header, and gives how many bytes follow it or -1 while it is not
    complete.  ``done(header, body)`` gets each complete frame, of its body the first ``keep`` bytes.  Either may raise
    ValueError: then the stream is ``broken``, and nothing of it is read any more.
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
        """At the end of a frame, or before the first."""
        return not self._header and not self.broken

    def feed(self, data: bytes) -> None:
        """More of it."""
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
