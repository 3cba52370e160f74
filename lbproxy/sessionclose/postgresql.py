"""PURE. Clean end of PostgreSQL sessions (protocol 3).

It sends FATAL 57P01 (admin_shutdown) while the session is idle and outside a transaction.

Servers send this to sessions that they end, and drivers and pools reconnect after it. The server
gets a Terminate, so that it does not log a broken connection. The state of the session (prepared
statements, ``LISTEN``, temporary tables, advisory locks) is lost. Encrypted sessions cannot be read
and are never at a safe point.

======== ======================================================= ===============
phase    meaning                                                 next
======== ======================================================= ===============
HELLO    the client has not said which protocol it speaks        OFFERED, OPEN
OFFERED  it has asked for encryption, and there is no answer yet HELLO (refused)
OPEN     a session                                               LEAVING
LEAVING  the client has sent Terminate                           -
======== ======================================================= ===============
"""

from __future__ import annotations

from enum import Enum

from lbproxy.sessionclose.base import Frames, SessionClose

__all__ = ["PostgreSQLClose"]

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
_ANSWERED = frozenset(b"QSF")  # Query, Sync, FunctionCall: each is answered by one ReadyForQuery
_PARTS = frozenset(b"pdcf")  # passwords and COPY: parts of something that is answered
_LOST = (
    b"SFATAL\x00VFATAL\x00C57P01\x00"
    b"Mterminating connection due to administrator command\x00"
    b"Dlbproxy moves this session to another server.\x00\x00"
)


class _Phase(Enum):
    """See the module."""

    HELLO = 0
    OFFERED = 1
    OPEN = 2
    LEAVING = 3


class PostgreSQLClose(SessionClose):
    """Ends a session when every command is answered, the last answer was ReadyForQuery ``I``, and
    no command followed.
    """

    name = "postgresql"

    def __init__(self) -> None:
        self._phase = _Phase.HELLO
        self._loose = False  # the client has started a sequence that a Sync must end
        self._waiting = 0  # number of outstanding ReadyForQuery
        self._idle = False
        self._client = Frames(self._client_length, self._client_message, keep=4)
        self._server = Frames(self._server_length, self._server_message, keep=1)
        self.from_client = self._client.feed  # type: ignore[method-assign]
        self.from_server = self._server.feed  # type: ignore[method-assign]

    def _greets(self) -> bool:
        """Return whether messages of the client have no type yet."""
        return self._phase in (_Phase.HELLO, _Phase.OFFERED)

    def _client_length(self, header: bytes) -> int:
        if self._greets():
            if len(header) < 8:
                return -1
            code = int.from_bytes(header[4:8], "big")
            if code not in (_SSL, _GSS, _CANCEL) and code >> 16 != 3:
                raise ValueError("not PostgreSQL")
            return _rest(header[:4], 8)
        return _rest(header[1:5], 4) if len(header) >= 5 else -1

    def _client_message(self, header: bytes, body: bytes) -> None:
        if self._greets():
            code = int.from_bytes(header[4:8], "big")
            if code == _CANCEL or self._phase is _Phase.OFFERED:
                raise ValueError("no session")
            if code in (_SSL, _GSS):
                self._phase = _Phase.OFFERED
            else:
                self._phase = _Phase.OPEN
                self._waiting = 1
            return
        kind = header[0]
        if kind in _ANSWERED:
            self._waiting += 1
            self._loose = False
        elif kind == 0x58:  # Terminate
            self._phase = _Phase.LEAVING
        elif kind not in _PARTS:
            self._loose = True

    def _server_length(self, header: bytes) -> int:
        if self._phase is _Phase.OFFERED:
            if header != b"N":
                raise ValueError("encrypted from here on")
            return 0
        return _rest(header[1:5], 4) if len(header) >= 5 else -1

    def _server_message(self, header: bytes, body: bytes) -> None:
        if self._phase is _Phase.OFFERED:
            self._phase = _Phase.HELLO
            return
        self._idle = header[0] == 0x5A and body == b"I"  # ReadyForQuery, idle
        if header[0] == 0x5A:
            if not self._waiting:
                raise ValueError("nobody has asked")
            self._waiting -= 1

    @property
    def polite(self) -> bool:
        """See :class:`SessionClose`."""
        quiet = self._idle and not self._waiting and not self._loose
        return (
            quiet and self._phase is _Phase.OPEN and self._client.between and self._server.between
        )

    def words(self, mask: bytes) -> tuple[bytes, bytes]:
        """See :class:`SessionClose`."""
        return b"E" + (len(_LOST) + 4).to_bytes(4, "big") + _LOST, b"X\x00\x00\x00\x04"


def _rest(length: bytes, counted: int) -> int:
    """Return the number of bytes that follow a length that includes itself."""
    size = int.from_bytes(length, "big")
    if not counted <= size < 1 << 31:
        raise ValueError("impossible length")
    return size - counted
