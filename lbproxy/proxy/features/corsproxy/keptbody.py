"""DATA. The body of a request, which may have to be sent again after a redirect."""

from __future__ import annotations

from lbproxy.http.message import End

__all__ = ["KeptBody"]


class KeptBody:
    """The body received so far.

    ``most``: maximum number of bytes that are kept after sending. ``whole``: everything received so
    far is kept. ``end``: None while more may follow. ``dropped``: a redirect continues without the
    body. Unsent bytes are always kept; the client is paused while there is no connection.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0
        self._kept = True
        self.whole = True
        self.dropped = False
        self.end: End | None = None

    def add(self, data: bytes, end: End | None) -> None:
        """Add data from the client."""
        if end is not None:
            self.end = end
        if data and self._kept:
            self._parts.append(data)
            self._size += len(data)

    def sent(self) -> bytes:
        """Return the body so far, to be sent now."""
        data = b"".join(self._parts)
        self._limit()
        return data

    def passed(self, data: bytes) -> None:
        """Note that ``data``, which was added, has been sent."""
        if data:
            self._limit()

    def _limit(self) -> None:
        if self._size > self._most:
            self.whole = False
            self.forget()

    def drop(self) -> None:
        """Continue without a body."""
        self.dropped = True
        self.forget()

    def forget(self) -> None:
        """Stop keeping data."""
        self._kept = False
        self._parts = []
