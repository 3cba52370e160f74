"""A PostgreSQL server as a play: it lets people in, and answers queries from a function."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field

from tests.probes.plays import Line, Peer

__all__ = ["FakePostgres", "error", "message", "row"]

scramp = pytest.importorskip("scramp")

SSL_REQUEST = struct.pack(">II", 8, 80877103)


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def error(code: str, text: str, severity: str = "FATAL") -> bytes:
    fields = f"S{severity}\0V{severity}\0C{code}\0M{text}\0\0"
    return message(b"E", fields.encode())


def row(*values: str | None) -> bytes:
    body = struct.pack(">H", len(values))
    for value in values:
        data = None if value is None else value.encode()
        body += struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data
    return message(b"D", body)


def authentication(code: int, data: bytes = b"") -> bytes:
    return message(b"R", struct.pack(">I", code) + data)


READY = message(b"Z", b"I")


@define
class FakePostgres:
    """``answer(sql)``: a row, None for no row, or an Exception whose text is the error.

    ``asked`` collects queries, ``names`` what clients said who they are, ``ended`` the clients that
    said good-bye.
    """

    auth: str = "trust"
    user: str = "lb"
    password: str = "s3cret"
    answer: Callable[[str], Any] = lambda sql: ["1"]
    tls: Any = None
    mechanisms: bytes = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"
    spoil: Callable[[bytes], bytes] = lambda data: data
    asked: list[str] = field(factory=list)
    names: list[dict[str, str]] = field(factory=list)
    ended: int = 0
    secured: bool = False

    def __call__(self, peer: Peer) -> Line:
        head = yield 8
        if head == SSL_REQUEST:
            if self.tls is None:
                peer.write(b"N")
                return
            peer.write(b"S")
            peer.start_tls(self.tls)
            head = yield 8
            self.secured = True
        size, version = struct.unpack(">II", head)
        assert version == 196608
        words = (yield size - 8).split(b"\0")
        assert words[-2:] == [b"", b""]
        named = dict(zip(words[0:-2:2], words[1:-2:2], strict=True))
        self.names.append({key.decode(): value.decode() for key, value in named.items()})
        yield from getattr(self, f"_{self.auth}")(peer)
        peer.write(authentication(0))
        peer.write(message(b"S", b"server_version\x0015.8\0") + message(b"K", b"\0" * 8))
        peer.write(message(b"N", b"SNOTICE\0\0") + READY)
        while True:
            kind, body = yield from self._message()
            if kind == b"X":
                self.ended += 1
                peer.close()
                return
            assert kind == b"Q", kind
            self._query(peer, body[:-1].decode())

    def _query(self, peer: Peer, sql: str) -> None:
        self.asked.append(sql)
        found = self.answer(sql)
        if isinstance(found, Exception):
            code = getattr(found, "code", "42000")
            peer.write(error(code, str(found), "ERROR") + READY)
            return
        peer.write(message(b"T", b"\0\0"))
        if found is not None:
            peer.write(row(*found) * 2)
        peer.write(message(b"C", b"SELECT 1\0") + READY)

    def _message(self) -> Any:
        head = yield 5
        body = yield int.from_bytes(head[1:], "big") - 4
        return head[:1], body

    def _refuse(self, peer: Peer) -> None:
        peer.write(error("28P01", f'password authentication failed for user "{self.user}"'))

    # -- ways to log in

    def _trust(self, peer: Peer) -> Any:
        yield from ()

    def _cleartext(self, peer: Peer) -> Any:
        peer.write(authentication(3))
        yield from self._compare(peer, self.password.encode() + b"\0")

    def _md5(self, peer: Peer) -> Any:
        peer.write(authentication(5, b"salt"))
        inner = hashlib.md5((self.password + self.user).encode()).hexdigest().encode()
        yield from self._compare(
            peer, b"md5" + hashlib.md5(inner + b"salt").hexdigest().encode() + b"\0"
        )

    def _compare(self, peer: Peer, wanted: bytes) -> Any:
        kind, body = yield from self._message()
        assert kind == b"p"
        if body != wanted:
            self._refuse(peer)
            yield 1 << 30

    def _scram(self, peer: Peer) -> Any:
        mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
        keys = mechanism.make_auth_info(self.password)
        server = mechanism.make_server(lambda user: keys)
        peer.write(authentication(10, self.mechanisms))
        kind, body = yield from self._message()
        name, _, rest = body.partition(b"\0")
        assert (kind, name) == (b"p", b"SCRAM-SHA-256")
        assert int.from_bytes(rest[:4], "big") == len(rest) - 4
        server.set_client_first(rest[4:].decode())
        peer.write(authentication(11, self.spoil(server.get_server_first().encode())))
        kind, body = yield from self._message()
        try:
            server.set_client_final(body.decode())
        except Exception:
            self._refuse(peer)
            yield 1 << 30
        peer.write(authentication(12, self.spoil(server.get_server_final().encode())))
