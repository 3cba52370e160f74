"""DATA. The body of a request that may have to be sent again after a redirect."""

from __future__ import annotations

from lbproxy.http.message import End

__all__ = ["KeptBody"]


class KeptBody:
    """The body so far.

    ``most``: bytes that are kept after they were sent.  ``whole``: all of it so far is kept.
    ``end``: None while more may come.  ``dropped``: a redirect goes on without it.  Bytes that were
    never sent are always kept: the client is paused while there is no connection.
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
        """The client has sent more."""
        if end is not None:
            self.end = end
        if data and self._kept:
            self._parts.append(data)
            self._size += len(data)

    def sent(self) -> bytes:
        """Return all of the body so far, which is sent now."""
        data = b"".join(self._parts)
        self._limit()
        return data

    def passed(self, data: bytes) -> None:
        """``data``, which was added, has been sent."""
        if data:
            self._limit()

    def _limit(self) -> None:
        if self._size > self._most:
            self.whole = False
            self.forget()

    def drop(self) -> None:
        """Go on without a body."""
        self.dropped = True
        self.forget()

    def forget(self) -> None:
        """Keep nothing any more."""
        self._kept = False
        self._parts = []
