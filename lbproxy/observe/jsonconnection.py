"""PURE. The JSON fields of the client and its connection, cached because they repeat from line to
line.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter

from lbproxy.observe.fields import FIELD_LIMIT
from lbproxy.observe.jsonvalues import add_int, json_address, json_field, json_quoted
from lbproxy.observe.record import Connection, LogCache, Record

__all__ = ["add_client", "add_connection", "cache_of", "client_of"]

_FIELD_LIMIT: Final[int] = FIELD_LIMIT  # mypyc does not inline constants of other modules
_IN_THE_CLEAR: Final[bytes] = b'"tls_version":"","tls_cipher":""'


def add_client(writer: BytesWriter, record: Record) -> None:
    """Write the client, up to the request id."""
    writer.write(b'"client_ip":')
    writer.write(json_address(record.client_ip))
    writer.write(b',"client_port":')
    add_int(writer, record.client_port)
    writer.write(b',"request_id":"')


def add_connection(writer: BytesWriter, info: Connection) -> None:
    """Write the end of the line, which is the same for all lines of a connection."""
    writer.write(b',"listener":')
    writer.write(json_address(info.listener))
    writer.write(b',"peer_ip":')
    writer.write(json_address(info.peer_ip))
    writer.write(b',"peer_port":')
    add_int(writer, info.peer_port)
    writer.write(b',"local_ip":')
    writer.write(json_address(info.local_ip))
    writer.write(b',"local_port":')
    add_int(writer, info.local_port)
    writer.write(b",")
    tls = info.tls
    if tls is None:
        writer.write(_IN_THE_CLEAR)
    else:
        secured = f"{json_field('tls_version', tls.version)},{json_field('tls_cipher', tls.cipher)}"
        writer.write(secured.encode("ascii"))
    writer.write(b',"sni":')
    writer.write(json_address(info.sni))
    if tls is None:
        writer.write(b',"alpn":""}\n')
    else:
        writer.write(f',"alpn":{json_quoted(tls.alpn, _FIELD_LIMIT)}}}\n'.encode("ascii"))


def cache_of(info: Connection) -> LogCache:
    """Return the end of the line, and cache it for the next line of the connection."""
    writer = BytesWriter()
    add_connection(writer, info)
    cache = info.log_cache = LogCache(writer.getvalue())
    return cache


def client_of(record: Record, cache: LogCache) -> bytes:
    """Return the client's part of the line, and cache it for the next line of the connection."""
    ip, port = record.client_ip, record.client_port
    if cache.ip != ip or cache.port != port:
        cache.ip = ip
        cache.port = port
        writer = BytesWriter()
        add_client(writer, record)
        cache.client = writer.getvalue()
    return cache.client
