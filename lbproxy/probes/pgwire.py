"""CONTROL. The part of the PostgreSQL protocol (version 3.0) that a check needs.

:mod:`lbproxy.probes.pgsql` uses it: log in, query, terminate. Every length is bounded by
:data:`MESSAGE_BYTES`. If the peer violates the protocol, only
:class:`~lbproxy.probes.base.Unhealthy` is raised, and no other exception.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import struct

from lbproxy.probes.base import Conversation, Unhealthy, shown
from lbproxy.probes.notes import shorten
from lbproxy.probes.scram import ScramClient, ScramError
from lbproxy.tls.parameters import TLSParameters

__all__ = ["PgError", "PgSession", "PostgreSQLCredentials", "pg_error"]

MESSAGE_BYTES = 64 * 1024
"""Maximum length of a message."""

_VERSION = 196608  # 3.0
_SSL_REQUEST = struct.pack(">II", 8, 80877103)
_MECHANISM = b"SCRAM-SHA-256"
_CANNOT = {
    2: "Kerberos",
    6: "SCM credentials",
    7: "GSSAPI",
    9: "SSPI",
}
Row = list[str | None]


class PgError(Unhealthy):
    """An error that the server reports; ``code`` is its SQLSTATE."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class PostgreSQLCredentials:
    """``cleartext``: the password may be sent as it is (TLS, a Unix socket, or explicitly
    allowed).
    """

    def __init__(self, user: str, password: str, database: str, *, cleartext: bool) -> None:
        self.user = user
        self.password = password
        self.database = database
        self.cleartext = cleartext


class PgSession:
    """A connection, from the first byte to Terminate."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._scram: ScramClient | None = None

    async def start_tls(self, tls: TLSParameters, timeout: float) -> None:
        """Send SSLRequest and do the handshake. Raises :class:`Unhealthy` if TLS is refused."""
        conversation = self._conversation
        conversation.send(_SSL_REQUEST)
        answer = await conversation.receive_exactly(1)
        if answer == b"N":
            raise Unhealthy("it has TLS switched off")
        if answer != b"S":
            raise Unhealthy(f"does not speak PostgreSQL: {shown(answer)}")
        await conversation.start_tls(tls, timeout)

    async def greet(self, user: str, database: str = "") -> tuple[bytes, bytes]:
        """Send the startup message, and return the server's first message."""
        words = {"user": user, "database": database or user, "application_name": "lbproxy"}
        body = b"".join(f"{key}\0{value}\0".encode() for key, value in words.items()) + b"\0"
        self._conversation.send(struct.pack(">II", len(body) + 8, _VERSION) + body)
        return await self._message()

    async def log_in(self, who: PostgreSQLCredentials) -> None:
        """Log in, and wait until the server is ready for a query. Raises :class:`Unhealthy`."""
        kind, body = await self.greet(who.user, who.database)
        known = False
        while True:
            if kind == b"E":
                raise pg_error(body)
            if kind == b"R":
                known |= self._authenticate(body, who)
            elif kind == b"Z":
                if not known:
                    raise Unhealthy("is ready before authentication")
                return
            elif kind not in (b"S", b"K", b"N", b"v"):
                raise Unhealthy(f"sent message {shown(kind)} during the login")
            kind, body = await self._message()

    async def query(self, sql: str) -> Row | None:
        """Return the first row as text, None if the result is empty.

        Raises :class:`PgError` or :class:`Unhealthy`.
        """
        self._send(b"Q", sql.encode() + b"\0")
        row: Row | None = None
        error: PgError | None = None
        while True:
            kind, body = await self._message()
            if kind == b"D":
                row = _row(body) if row is None else row
            elif kind == b"E":
                error = pg_error(body)
            elif kind == b"Z":
                if error is not None:
                    raise error
                return row
            elif kind in (b"G", b"H", b"W"):
                raise Unhealthy("the query wants to copy")
            elif kind not in (b"T", b"C", b"I", b"N", b"S", b"A", b"d", b"c"):
                raise Unhealthy(f"sent message {shown(kind)} during the query")

    def leave(self) -> None:
        """Send Terminate."""
        self._send(b"X", b"")

    def _send(self, kind: bytes, body: bytes) -> None:
        self._conversation.send(kind + struct.pack(">I", len(body) + 4) + body)

    async def _message(self) -> tuple[bytes, bytes]:
        head = await self._conversation.receive_exactly(5)
        size = int.from_bytes(head[1:], "big") - 4
        if not head[:1].isalpha() or not 0 <= size <= MESSAGE_BYTES:
            raise Unhealthy(f"does not speak PostgreSQL: {shown(head)}")
        return head[:1], await self._conversation.receive_exactly(size) if size else b""

    def _authenticate(self, body: bytes, who: PostgreSQLCredentials) -> bool:
        """Answer one authentication request; return True once authentication has succeeded."""
        if len(body) < 4:
            raise Unhealthy("sent a malformed authentication request")
        code, data = int.from_bytes(body[:4], "big"), body[4:]
        if code == 0:
            if self._scram is not None and not self._scram.verified:
                raise Unhealthy("did not prove that it knows the password")
            return True
        if code in _CANNOT:
            raise Unhealthy(f"wants {_CANNOT[code]} authentication, which a check cannot do")
        if code in (3, 5, 10) and not who.password:
            raise Unhealthy("wants a password, and the check has none")
        try:
            self._answer(code, data, who)
        except ScramError as error:
            raise Unhealthy(str(error)) from None
        return False

    def _answer(self, code: int, data: bytes, who: PostgreSQLCredentials) -> None:
        scram = self._scram
        if code == 3:
            if not who.cleartext:
                raise Unhealthy("wants the password in the clear; use tls, or allow_cleartext")
            self._send(b"p", who.password.encode() + b"\0")
        elif code == 5 and len(data) == 4:
            inner = hashlib.md5((who.password + who.user).encode()).hexdigest()
            outer = hashlib.md5(inner.encode() + data).hexdigest()
            self._send(b"p", b"md5" + outer.encode() + b"\0")
        elif code == 10:
            if _MECHANISM not in data.split(b"\0"):
                raise Unhealthy(f"wants SASL mechanism {shown(data)}, which a check cannot do")
            self._scram = scram = ScramClient(who.password, _nonce, who.user)
            first = struct.pack(">I", len(scram.first)) + scram.first
            self._send(b"p", _MECHANISM + b"\0" + first)
        elif code == 11 and scram is not None:
            self._send(b"p", scram.reply(data))
        elif code == 12 and scram is not None:
            scram.verify(data)
        else:
            raise Unhealthy(f"sent the unexpected authentication request {code}")


def _nonce() -> str:
    return base64.b64encode(secrets.token_bytes(18)).decode("ascii")


def pg_error(body: bytes) -> PgError:
    """Return the server's ErrorResponse as an exception."""
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    code = shorten(fields.get(b"C", ""), 5)
    severity = shorten(fields.get(b"V", fields.get(b"S", "ERROR")), 20)
    text = shorten(fields.get(b"M", "no reason given"))
    return PgError(code, f"{severity} {code}: {text}" if code else f"{severity}: {text}")


def _row(body: bytes) -> Row:
    """Return the columns of a DataRow."""
    row: Row = []
    at = 2
    try:
        (columns,) = struct.unpack_from(">H", body)
        for _ in range(columns):
            (size,) = struct.unpack_from(">i", body, at)
            at += 4
            if size > len(body) - at:
                raise Unhealthy("sent a malformed row")
            row.append(None if size < 0 else body[at : at + size].decode(errors="replace"))
            at += max(size, 0)
    except struct.error:
        raise Unhealthy("sent a malformed row") from None
    return row
