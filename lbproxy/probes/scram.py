"""CONTROL. The client side of SCRAM-SHA-256, without I/O (RFC 5802, RFC 7677, no channel binding).

Used by :mod:`lbproxy.probes.pgwire`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata
from collections.abc import Callable

__all__ = ["MAX_ITERATIONS", "ScramClient", "ScramError", "saslprep"]

MAX_ITERATIONS = 200_000
"""Maximum number of iterations. The server chooses it, and the work blocks the reactor: 4096 is
usual and takes 2 ms.
"""

_FIRST = re.compile(rb"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,9})(?:,.*)?", re.DOTALL)
_FINAL = re.compile(rb"v=([A-Za-z0-9+/=]+)(?:,.*)?", re.DOTALL)
_KEYS = 64  # salted passwords kept

_salted: dict[tuple[str, bytes, int], bytes] = {}


class ScramError(Exception):
    """The server's message is malformed, or proves that the server does not know the password."""


class ScramClient:
    """A SCRAM login.

    ``nonce`` returns printable ASCII without commas, from 18 random bytes. ``first``: the first
    message to send. Then call :meth:`reply` and :meth:`verify` with the server's messages.
    """

    def __init__(self, password: str, nonce: Callable[[], str], user: str = "") -> None:
        self._password = saslprep(password)
        self._nonce = nonce().encode("ascii")
        name = user.replace("=", "=3D").replace(",", "=2C").encode()
        self._bare = b"n=" + name + b",r=" + self._nonce
        self._signature = b""
        self.first = b"n,," + self._bare
        self.verified = False

    def reply(self, message: bytes) -> bytes:
        """Return the client-final-message for the server-first-message.

        Raises :class:`ScramError`.
        """
        found = _FIRST.fullmatch(message)
        if found is None:
            raise ScramError("its SCRAM challenge is malformed")
        nonce, salt, iterations = found[1], _decoded(found[2]), int(found[3])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ScramError("its SCRAM nonce does not continue ours")
        if iterations > MAX_ITERATIONS:
            raise ScramError(f"it asks for {iterations} iterations, {MAX_ITERATIONS} is the limit")
        salted = _salt(self._password, salt, iterations)
        client_key = _hmac(salted, b"Client Key")
        final = b"c=biws,r=" + nonce
        text = b",".join((self._bare, message, final))
        proof = _xor(client_key, _hmac(hashlib.sha256(client_key).digest(), text))
        self._signature = _hmac(_hmac(salted, b"Server Key"), text)
        return final + b",p=" + base64.b64encode(proof)

    def verify(self, message: bytes) -> None:
        """Verify the server-final-message.

        Raises :class:`ScramError` unless it proves that the server knows the password.
        """
        found = _FINAL.fullmatch(message)
        if not self._signature or found is None:
            raise ScramError("its SCRAM proof is malformed")
        if not hmac.compare_digest(_decoded(found[1]), self._signature):
            raise ScramError("its SCRAM proof is wrong: it does not know the password")
        self.verified = True


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramError("its SCRAM message is not base64") from None


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def _salt(password: str, salt: bytes, iterations: int) -> bytes:
    """Return the salted password, from a memo: this is slow, and a user's salt seldom changes."""
    key = (password, salt, iterations)
    found = _salted.get(key)
    if found is None:
        found = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
        if len(_salted) >= _KEYS:
            _salted.clear()
        _salted[key] = found
    return found


_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def saslprep(text: str) -> str:
    """Prepare ``text`` by RFC 4013. Text that it forbids stays unchanged, as in PostgreSQL."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal or any(forbidden(char) for char in normal for forbidden in _PROHIBITED):
        return text
    right = [stringprep.in_table_d1(char) for char in normal]
    if any(right):
        mixed = any(stringprep.in_table_d2(char) for char in normal)
        if mixed or not (right[0] and right[-1]):
            return text
    return normal
