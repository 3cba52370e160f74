"""DATA. Bytes into OpenSSL and out of it, as pyOpenSSL's ``recv`` and ``send`` do, at two thirds of
their cost.

pyOpenSSL takes new memory for each read, looks at every result for all that can go wrong, and finds
each of its attributes by way of ``__getattr__``. Here OpenSSL is called itself, through the binding
that pyOpenSSL has already; what goes wrong is still pyOpenSSL's to tell. Those names are not public
(:mod:`lbproxy.tls.openssl`): where they are missing its own methods serve.

OpenSSL notes errors in one list for all connections. pyOpenSSL leaves there what a system call
said, and would take it for a reason why another connection ends: so it is cleared.

One buffer serves every connection, for one reading is over before the next begins: the reactor's
thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from OpenSSL import SSL

from lbproxy.tls.openssl import clear_errors, ffi, raise_of, ssl_of, ssl_read, ssl_write

__all__ = ["RECORD_BYTES", "record_calls"]

RECORD_BYTES: Final = 16 * 1024
"""Most bytes in one record: RFC 8446 §5.1."""

_ssl_read: Any = ssl_read
_ssl_write: Any = ssl_write
_from_buffer: Any = getattr(ffi, "from_buffer", None)
_DIRECT: Final = bool(_ssl_read and _ssl_write and _from_buffer)

_memory: Any = ffi.new("char[]", RECORD_BYTES) if _DIRECT else None
_buffer: Any = ffi.buffer(_memory) if _DIRECT else None


class _Records:
    """One connection's; see :func:`record_calls`."""

    __slots__ = ("_handle", "_raise")

    def __init__(self, handle: Any, tell: Callable[[Any, int], None]) -> None:
        self._handle = handle
        self._raise = tell

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, which is not more than RECORD_BYTES."""
        got: int = _ssl_read(self._handle, _memory, size)
        if got <= 0:
            self._fail(got)
        data: bytes = _buffer[:got]
        return data

    def write(self, data: Any) -> int:
        """How many bytes were taken."""
        memory = data if type(data) is bytes else _from_buffer(data)
        sent: int = _ssl_write(self._handle, memory, len(memory))
        if sent <= 0:
            del memory  # a kept error must not keep ``data`` from growing
            self._fail(sent)
        return sent

    def _fail(self, result: int) -> NoReturn:
        try:
            self._raise(self._handle, result)
        except SSL.SysCallError:
            clear_errors()
            raise
        raise SSL.Error([])  # whatever it was, there are no bytes


def record_calls(connection: Any) -> tuple[Callable[[int], bytes], Callable[[Any], int]]:
    """How to read from and write to ``connection``, a pyOpenSSL Connection whose handshake is done.

    Both raise what its ``recv`` and ``send`` raise (:class:`OpenSSL.SSL.Error` and its kin).
    """
    tell = raise_of(connection)
    if not _DIRECT or tell is None:
        return connection.recv, connection.send
    records = _Records(ssl_of(connection), tell)
    return records.read, records.write
