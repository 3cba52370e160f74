"""DATA. Reads and writes of OpenSSL like pyOpenSSL's ``recv`` and ``send``, at two thirds of their
cost.

pyOpenSSL allocates memory for each read, checks every result for all possible errors, and finds
each of its attributes through ``__getattr__``. This module calls OpenSSL directly, through the
binding that pyOpenSSL has already loaded. pyOpenSSL still raises the errors. The names used are not
public (:mod:`lbproxy.tls.openssl`); if they are missing, pyOpenSSL's own methods are used.

OpenSSL keeps errors in one queue for all connections. pyOpenSSL leaves entries of system calls
there, and could report them as the reason for the end of another connection. They are therefore
cleared.

One buffer serves all connections, because each read completes before the next one starts. Use it in
the reactor's thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from OpenSSL import SSL

from lbproxy.tls.openssl import clear_errors, ffi, raise_of, ssl_of, ssl_read, ssl_write

__all__ = ["RECORD_BYTES", "record_calls"]

RECORD_BYTES: Final = 16 * 1024
"""Maximum number of bytes in one record (RFC 8446 §5.1)."""

_ssl_read: Any = ssl_read
_ssl_write: Any = ssl_write
_from_buffer: Any = getattr(ffi, "from_buffer", None)
_DIRECT: Final = bool(_ssl_read and _ssl_write and _from_buffer)

_memory: Any = ffi.new("char[]", RECORD_BYTES) if _DIRECT else None
_buffer: Any = ffi.buffer(_memory) if _DIRECT else None


class _Records:
    """The calls of one connection; see :func:`record_calls`."""

    __slots__ = ("_handle", "_raise")

    def __init__(self, handle: Any, tell: Callable[[Any, int], None]) -> None:
        self._handle = handle
        self._raise = tell

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes, which must not exceed RECORD_BYTES."""
        got: int = _ssl_read(self._handle, _memory, size)
        if got <= 0:
            self._fail(got)
        data: bytes = _buffer[:got]
        return data

    def write(self, data: Any) -> int:
        """Write, and return the number of bytes accepted."""
        memory = data if type(data) is bytes else _from_buffer(data)
        sent: int = _ssl_write(self._handle, memory, len(memory))
        if sent <= 0:
            del memory  # a stored exception must not keep ``data`` from growing
            self._fail(sent)
        return sent

    def _fail(self, result: int) -> NoReturn:
        try:
            self._raise(self._handle, result)
        except SSL.SysCallError:
            clear_errors()
            raise
        raise SSL.Error([])  # whatever the error, no bytes were read


def record_calls(connection: Any) -> tuple[Callable[[int], bytes], Callable[[Any], int]]:
    """Return functions that read from and write to ``connection``, a pyOpenSSL Connection after its
    handshake.

    Both raise the exceptions of its ``recv`` and ``send`` (:class:`OpenSSL.SSL.Error` and its
    subclasses).
    """
    tell = raise_of(connection)
    if not _DIRECT or tell is None:
        return connection.recv, connection.send
    records = _Records(ssl_of(connection), tell)
    return records.read, records.write
