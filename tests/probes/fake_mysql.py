"""A MySQL or MariaDB server as a play; scrambles are checked against PyMySQL's."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from attrs import define, field
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.probes.plays import Line, Peer

__all__ = ["FakeMySQL", "eof", "error", "greeting", "packet", "table"]

_auth = pytest.importorskip("pymysql._auth")

SALT = bytes(range(1, 21))
SSL, CONNECT_WITH_DB = 0x800, 0x8
CAPABILITIES = 0x81FFF7FF  # without SSL


def packet(sequence: int, body: bytes) -> bytes:
    return struct.pack("<I", len(body) | sequence << 24) + body


def lengthy(text: str | None) -> bytes:
    if text is None:
        return b"\xfb"
    data = text.encode()
    return (
        bytes((len(data),)) if len(data) < 251 else b"\xfc" + struct.pack("<H", len(data))
    ) + data


def greeting(version: str, plugin: str, capabilities: int = CAPABILITIES) -> bytes:
    return (
        b"\x0a" + version.encode() + b"\0" + struct.pack("<I", 7) + SALT[:8] + b"\0"
        + struct.pack("<HBHHB", capabilities & 0xFFFF, 33, 2, capabilities >> 16, 21)
        + b"\0" * 10 + SALT[8:] + b"\0" + plugin.encode() + b"\0"
    )  # fmt: skip


def error(code: int, text: str, state: str = "#28000") -> bytes:
    return b"\xff" + struct.pack("<H", code) + state.encode() + text.encode()


def eof() -> bytes:
    return b"\xfe\0\0\2\0"


OK = b"\0\0\0\2\0\0\0"


def table(rows: list[dict[str, Any]]) -> list[bytes]:
    """The packets of an answer."""
    names = list(rows[0]) if rows else ["none"]
    columns = [
        b"".join(map(lengthy, ("def", "", "", "", name, name))) + b"\x0c" + b"\0" * 12
        for name in names
    ]
    lines = [b"".join(lengthy(row[name]) for name in names) for row in rows]
    return [bytes((len(names),)), *columns, eof(), *lines, eof()]


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@define
class FakeMySQL:
    """``plugin``: of the greeting; ``switch``: to this one when somebody logs in.

    ``cached``: caching_sha2_password remembers the password. ``answer(sql)``: rows, or an
    Exception.
    """

    plugin: str = "mysql_native_password"
    switch: str = ""
    password: str = "s3cret"
    user: str = "lb"
    version: str = "8.0.36"
    cached: bool = True
    answer: Callable[[str], Any] = lambda sql: [{"1": "1"}]
    tls: Any = None
    key: Any = field(factory=rsa_key)
    asked: list[str] = field(factory=list)
    databases: list[str] = field(factory=list)
    ended: int = 0
    secured: bool = False
    sequence: int = 0

    def __call__(self, peer: Peer) -> Line:
        self.sequence = 0
        capabilities = CAPABILITIES | (SSL if self.tls else 0)
        self._send(peer, greeting(self.version, self.plugin, capabilities))
        body = yield from self._receive()
        flags = struct.unpack_from("<I", body)[0]
        if flags & SSL:
            assert len(body) == 32
            peer.start_tls(self.tls)
            body = yield from self._receive()
            self.secured = True
        rest = body[32:]
        user, _, rest = rest.partition(b"\0")
        answer, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        if flags & CONNECT_WITH_DB:
            database, _, rest = rest.partition(b"\0")
            self.databases.append(database.decode())
        assert rest == self.plugin.encode() + b"\0", rest
        if self.switch:
            self._send(peer, b"\xfe" + self.switch.encode() + b"\0" + SALT[::-1] + b"\0")
            answer = yield from self._receive()
        good = yield from self._judge(peer, answer)
        if not good or user.decode() != self.user:
            self._send(peer, error(1045, f"Access denied for user '{user.decode()}'"))
            yield 1 << 30
        self._send(peer, OK)
        while True:
            self.sequence = 0
            body = yield from self._receive()
            if body == b"\x01":
                self.ended += 1
                peer.close()
                return
            assert body[:1] == b"\x03"
            self.asked.append(body[1:].decode())
            found = self.answer(self.asked[-1])
            if isinstance(found, Exception):
                self._send(peer, error(*found.args))
                continue
            for one in table(found):
                self._send(peer, one)

    def _judge(self, peer: Peer, answer: bytes) -> Any:
        plugin = self.switch or self.plugin
        salt = SALT[::-1] if self.switch else SALT
        password = self.password.encode()
        if plugin == "mysql_native_password":
            return answer == _auth.scramble_native_password(password, salt)
        if plugin == "mysql_clear_password":
            return answer == password + b"\0"
        if plugin != "caching_sha2_password":
            return False
        if answer != _auth.scramble_caching_sha2(password, salt):
            return False
        if self.cached:
            self._send(peer, b"\x01\x03")
            return True
        self._send(peer, b"\x01\x04")
        answer = yield from self._receive()
        if answer == b"\x02":
            pem = self.key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            self._send(peer, b"\x01" + pem)
            secret = yield from self._receive()
            oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
            plain = self.key.decrypt(secret, oaep)
            answer = bytes(a ^ b for a, b in zip(plain, salt * 9, strict=False))
        else:
            assert self.secured, "a password in the clear"
        return answer == password + b"\0"

    def _send(self, peer: Peer, body: bytes) -> None:
        peer.write(packet(self.sequence, body))
        self.sequence = (self.sequence + 1) % 256

    def _receive(self) -> Any:
        head = yield 4
        assert head[3] == self.sequence, (head, self.sequence)
        self.sequence = (self.sequence + 1) % 256
        body = yield int.from_bytes(head[:3], "little")
        return body
