"""PURE. The part of a JSON access record about attempts, the end and the cache.

This code runs once per request, for :mod:`lbproxy.observe.jsonlog`.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter

from lbproxy.errors import Kind
from lbproxy.observe.jsonvalues import add_int, add_ms, add_text
from lbproxy.observe.record import CacheNote, HTTPRecord

__all__ = ["add_close", "add_course"]

_NO_CACHE: Final[bytes] = b'","cache":"","cache_reason":"","cache_age":null,"header_ms":'
_CLOSES: Final = {kind: f'"close":"{kind.value}","detail":"'.encode() for kind in Kind}
_OK: Final = Kind.OK
_CLOSE_OK: Final[bytes] = _CLOSES[_OK]  # the hash of an enum member is computed in Python
_USUAL_END: Final[bytes] = (
    b',"attempts":1,"reused":true,'
    + _CLOSE_OK
    + _NO_CACHE
    + b'0.000,"queue_ms":0.000,"connect_ms":0.000,"response_ms":'
)
"""The constant part from the sizes to the first variable time, for a request that arrived in one
piece and used a pooled connection.
"""


def add_close(writer: BytesWriter, close: Kind) -> None:
    """Write the close reason, up to the detail."""
    writer.write(_CLOSE_OK if close is _OK else _CLOSES[close])


def add_course(writer: BytesWriter, record: HTTPRecord) -> None:
    """Write the outcome of a request, from the attempts to the time of the response."""
    if _is_usual(record):
        writer.write(_USUAL_END)
        return
    writer.write(b',"attempts":')
    add_int(writer, record.attempts)
    writer.write(b',"reused":true,' if record.reused else b',"reused":false,')
    add_close(writer, record.close)
    add_text(writer, record.detail)
    note = record.cached
    if note is None:
        writer.write(_NO_CACHE)
    else:
        _add_note(writer, note)
    add_ms(writer, record.t_header)
    writer.write(b',"queue_ms":')
    add_ms(writer, record.t_queue)
    writer.write(b',"connect_ms":')
    add_ms(writer, record.t_connect)
    writer.write(b',"response_ms":')


def _add_note(writer: BytesWriter, note: CacheNote) -> None:
    """Write the result of a cache, up to the times."""
    if note.status == "hit" and not note.reason:  # nearly all notes of a busy cache are hits
        writer.write(b'","cache":"hit","cache_reason":"","cache_age":')
    else:
        writer.write(b'","cache":"')
        add_text(writer, note.status)
        writer.write(b'","cache_reason":"')
        add_text(writer, note.reason)
        writer.write(b'","cache_age":')
    if note.age < 0:
        writer.write(b"null")
    else:
        add_int(writer, int(note.age))
    writer.write(b',"header_ms":')


def _is_usual(record: HTTPRecord) -> bool:
    """Return whether :data:`_USUAL_END` holds, as for nearly all lines."""
    return (
        record.t_connect == 0.0
        and record.t_queue == 0.0
        and record.t_header == 0.0
        and record.reused
        and record.close is _OK
        and record.attempts == 1
        and record.cached is None
        and not record.detail
    )
