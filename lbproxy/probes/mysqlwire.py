"""CONTROL. The part of the MySQL protocol (4.1 and later) that a check needs.

:mod:`lbproxy.probes.mysql` uses it for MySQL and MariaDB: log in, query, quit. Every length is
bounded. If the peer violates the protocol, only :class:`~lbproxy.probes.base.Unhealthy` is raised,
and no other exception.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

from attrs import frozen
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from lbproxy.probes.base import Conversation, Unhealthy, shown
from lbproxy.probes.notes import shorten
from lbproxy.tls.parameters import TLSParameters

__all__ = ["ACCESS_DENIED", "Greeting", "MySQLCredentials", "MySQLError", "MySQLSession"]

PACKET_BYTES = 64 * 1024
ANSWER_ROWS = 1000
"""Maximum number of rows of an answer."""

ACCESS_DENIED = (1045, 1251, 1698, 3118, 3159)
"""Errors of a server that runs and refuses the login."""

_LONG_PASSWORD, _LONG_FLAG, _WITH_DB, _PROTOCOL_41, _SSL = 0x1, 0x4, 0x8, 0x200, 0x800
_TRANSACTIONS, _SECURE, _PLUGIN_AUTH = 0x2000, 0x8000, 0x80000
_UTF8 = 33

Row = dict[str, str | None]


class MySQLError(Unhealthy):
    """An error that the server reports."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"error {code}: {text}")
        self.code = code


@frozen
class Greeting:
    """The server's first packet: ``version`` such as "8.0.36" or "5.5.5-10.11.6-MariaDB"."""

    version: str
    capabilities: int
    salt: bytes
    plugin: str

    @property
    def mariadb(self) -> bool:
        """True if the server is MariaDB."""
        return "mariadb" in self.version.lower()


@frozen
class MySQLCredentials:
    """User, password and how to send it.

    ``private``: the connection is TLS or a Unix socket, so the password may be sent in the clear.
    ``public_key``: otherwise encrypt it with the key that the server sends.
    """

    user: str
    password: str
    database: str = ""
    private: bool = False
    public_key: bool = False


class MySQLSession:
    """A connection, from the first byte to COM_QUIT."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._sequence = 0

    async def greeting(self) -> Greeting:
        """Read the server's greeting. Raises :class:`MySQLError` if the connection is refused."""
        body = await self._packet()
        if body[:1] == b"\xff":
            raise _error(body)
        try:
            return _greeting(body)
        except (struct.error, ValueError):
            raise Unhealthy(f"does not speak MySQL: {shown(body)}") from None

    async def log_in(
        self, greeting: Greeting, who: MySQLCredentials, tls: TLSParameters | None, timeout: float
    ) -> None:
        """Start TLS if ``tls`` is set, and log in. Raises :class:`Unhealthy`."""
        flags = _LONG_PASSWORD | _LONG_FLAG | _PROTOCOL_41 | _TRANSACTIONS | _SECURE | _PLUGIN_AUTH
        if who.database:
            flags |= _WITH_DB
        if not greeting.capabilities & _PROTOCOL_41 or not greeting.capabilities & _SECURE:
            raise Unhealthy("is older than MySQL 4.1")
        if tls is not None:
            if not greeting.capabilities & _SSL:
                raise Unhealthy("it has TLS switched off")
            flags |= _SSL
            self._send(struct.pack("<IIB23x", flags, PACKET_BYTES, _UTF8))
            await self._conversation.start_tls(tls, timeout)
        plugin = greeting.plugin or "mysql_native_password"
        answer = _scramble(plugin, who, greeting.salt) if plugin in _SCRAMBLES else b""
        body = struct.pack("<IIB23x", flags, PACKET_BYTES, _UTF8)
        body += who.user.encode() + b"\0" + bytes((len(answer),)) + answer
        if who.database:
            body += who.database.encode() + b"\0"
        self._send(body + plugin.encode() + b"\0")
        await self._authenticate(plugin, greeting.salt, who)

    async def query(self, sql: str) -> list[Row]:
        """Return all rows, by column name. Raises :class:`MySQLError` or :class:`Unhealthy`."""
        self._sequence = 0
        self._send(b"\x03" + sql.encode())
        first = await self._packet()
        if first[:1] == b"\xff":
            raise _error(first)
        if first[:1] == b"\x00":
            return []
        if first[:1] == b"\xfb":
            raise Unhealthy("the query wants to read a file")
        columns, _ = _length(first, 0)
        names = [_column_name(await self._packet()) for _ in range(min(columns, 4096))]
        if not _is_eof(await self._packet()):
            raise Unhealthy("sent a malformed answer")
        rows: list[Row] = []
        while not _is_eof(body := await self._packet()):
            if body[:1] == b"\xff":
                raise _error(body)
            if len(rows) >= ANSWER_ROWS:
                raise Unhealthy(f"the query gave more than {ANSWER_ROWS} rows")
            rows.append(_row(body, names))
        return rows

    def leave(self) -> None:
        """Send COM_QUIT."""
        self._sequence = 0
        self._send(b"\x01")

    # -- packets --------------------------------------------------------------------------------

    def _send(self, body: bytes) -> None:
        self._conversation.send(struct.pack("<I", len(body) | self._sequence << 24) + body)
        self._sequence = (self._sequence + 1) % 256

    async def _packet(self) -> bytes:
        head = await self._conversation.receive_exactly(4)
        size = int.from_bytes(head[:3], "little")
        if not 0 < size <= PACKET_BYTES or head[3] != self._sequence:
            raise Unhealthy(f"does not speak MySQL: {shown(head)}")
        self._sequence = (self._sequence + 1) % 256
        return await self._conversation.receive_exactly(size)

    # -- the login ------------------------------------------------------------------------------

    async def _authenticate(self, plugin: str, salt: bytes, who: MySQLCredentials) -> None:
        while True:
            body = await self._packet()
            kind = body[:1]
            if kind == b"\x00":
                return
            if kind == b"\xff":
                raise _error(body)
            if kind == b"\xfe":
                name, _, data = body[1:].partition(b"\0")
                plugin = shorten(name.decode("latin-1"), 60) or "mysql_old_password"
                salt = data[:20]
                self._send(_scramble(plugin, who, salt))
            elif body == b"\x01\x04" and plugin == "caching_sha2_password":
                await self._whole_password(salt, who)
            elif body != b"\x01\x03":
                raise Unhealthy(f"sent {shown(body)} during the login")

    async def _whole_password(self, salt: bytes, who: MySQLCredentials) -> None:
        """Send the full password, because the server has not cached it for this user."""
        if who.private:
            self._send(who.password.encode() + b"\0")
            return
        if not who.public_key:
            raise Unhealthy(
                "wants the whole password (caching_sha2_password); use tls, or "
                "get_server_public_key"
            )
        self._send(b"\x02")
        body = await self._packet()
        if body[:1] == b"\xff":
            raise _error(body)
        self._send(_encrypted(who.password, salt, body[1:]))


def _encrypted(password: str, salt: bytes, pem: bytes) -> bytes:
    plain = password.encode() + b"\0"
    mask = salt * (len(plain) // max(1, len(salt)) + 1)
    try:
        key = serialization.load_pem_public_key(pem)
    except Exception:  # cryptography raises several kinds
        raise Unhealthy("sent a public key that cannot be read") from None
    if not isinstance(key, RSAPublicKey):
        raise Unhealthy("sent a public key that is not RSA")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    try:
        return key.encrypt(bytes(a ^ b for a, b in zip(plain, mask, strict=False)), oaep)
    except ValueError:
        raise Unhealthy("sent a public key that is too short for the password") from None


def _native(password: bytes, salt: bytes) -> bytes:
    once = hashlib.sha1(password).digest()
    mask = hashlib.sha1(salt + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, mask, strict=True))


def _sha2(password: bytes, salt: bytes) -> bytes:
    once = hashlib.sha256(password).digest()
    mask = hashlib.sha256(hashlib.sha256(once).digest() + salt).digest()
    return bytes(a ^ b for a, b in zip(once, mask, strict=True))


_SCRAMBLES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "mysql_native_password": _native,
    "caching_sha2_password": _sha2,
}


def _scramble(plugin: str, who: MySQLCredentials, salt: bytes) -> bytes:
    """Return the first response to an authentication plugin."""
    if not who.user:  # the server refuses an empty response with an ordinary error
        return b""
    password = who.password.encode()
    if plugin == "mysql_clear_password":
        if not who.private:
            raise Unhealthy("wants the password in the clear; use tls")
        return password + b"\0"
    scramble = _SCRAMBLES.get(plugin)
    if scramble is None:
        can = ", ".join(_SCRAMBLES)
        raise Unhealthy(f"wants authentication {plugin!r}; a check can do {can}")
    return scramble(password, salt) if password else b""


# -- reading ---------------------------------------------------------------------------------------


def _greeting(body: bytes) -> Greeting:
    """Parse handshake version 10. Raises struct.error or ValueError."""
    if body[0] != 10:
        raise ValueError("another protocol version")
    end = body.index(b"\0", 1)
    version = shorten(body[1:end].decode("latin-1"), 60)
    rest = body[end + 1 :]
    salt, low, _, _, high, size = struct.unpack_from("<4x8sxHBHHB", rest)
    more = rest[31 : 31 + max(12, size - 9)] if low & _SECURE else b""
    plugin = rest[31 + max(13, size - 8) :].partition(b"\0")[0].decode("latin-1")
    return Greeting(version, low | high << 16, (salt + more)[:20], shorten(plugin, 60))


def _error(body: bytes) -> MySQLError:
    code = int.from_bytes(body[1:3], "little")
    text = body[3:]
    if text[:1] == b"#":
        text = text[6:]
    return MySQLError(code, shorten(text.decode(errors="replace")) or "no reason given")


def _is_eof(body: bytes) -> bool:
    return body[0] == 0xFE and len(body) < 9


def _length(body: bytes, at: int) -> tuple[int, int]:
    """Return a length-encoded integer, and the position after it."""
    if at >= len(body):
        raise Unhealthy("sent a malformed answer")
    first = body[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first, 0)
    data = body[at + 1 : at + 1 + size]
    if not size or len(data) < size:
        raise Unhealthy("sent a malformed answer")
    return int.from_bytes(data, "little"), at + 1 + size


def _text(body: bytes, at: int) -> tuple[str, int]:
    size, at = _length(body, at)
    if size > len(body) - at:
        raise Unhealthy("sent a malformed answer")
    return body[at : at + size].decode(errors="replace"), at + size


def _column_name(body: bytes) -> str:
    at = 0
    name = ""
    for _ in range(5):  # catalogue, schema, table alias, table, column alias
        name, at = _text(body, at)
    return name


def _row(body: bytes, names: list[str]) -> Row:
    row: Row = {}
    at = 0
    for name in names:
        if body[at : at + 1] == b"\xfb":
            row[name], at = None, at + 1
        else:
            row[name], at = _text(body, at)
    return row
