"""PURE. Tokens, answers and passes of the challenge.

A token contains its time of issue and the number of zero bits that its answer needs. A pass
contains the same of the answered token. Both are signed, and the signature covers the client's
prefix, so that nothing needs to be stored about either.

1. An answer is a number n for which sha256(token + n in decimal) begins with the zero bits.
2. A token can be answered for :data:`ANSWER_S` seconds after it was issued.
3. A pass ends a fixed time after *its token* was issued.  Sending an answer again returns the same
   pass, with the same end.
4. The key of a signature belongs to the day of issue, so keys change without being stored.
"""

from __future__ import annotations

import hmac
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable
from hashlib import sha256
from secrets import token_bytes
from typing import Final

from attrs import frozen

__all__ = ["ANSWER_S", "AnswerError", "Pass", "Proofs", "zero_bits"]

ANSWER_S: Final = 600
"""Seconds within which a token can be answered."""

SKEW_S: Final = 60
"""Seconds by which the clock that issued a token may be ahead."""

_DAY: Final = 86_400
_MAC: Final = 16  # bytes
_NONCE: Final = 6  # bytes
_TOKEN: Final = 36  # characters; with the digits of an answer one block of SHA-256
_PASS: Final = 28
_ANSWER: Final = re.compile(r"0|[1-9][0-9]{0,14}")
_KEYS: Final = 10  # days


class AnswerError(ValueError):
    """An answer that earns no pass. The text is for the client."""


@frozen
class Pass:
    """An accepted answer: the time at which its token was issued in Unix seconds, and its bits."""

    issued: int
    bits: int


def zero_bits(digest: bytes) -> int:
    """Return the number of zero bits with which ``digest`` begins."""
    return len(digest) * 8 - int.from_bytes(digest, "big").bit_length()


class Proofs:
    """Signs and checks with keys derived from ``secret``.

    ``random``: returns a given number of unpredictable bytes.
    """

    def __init__(self, secret: bytes, random: Callable[[int], bytes] = token_bytes) -> None:
        self._secret = secret
        self._random = random
        self._keys: dict[int, bytes] = {}

    def token(self, prefix: str, bits: int, now: float) -> str:
        """Return a new token for clients of ``prefix``.  ``now``: Unix time in seconds."""
        body = _stated(int(now), bits) + self._random(_NONCE)
        return _text(body + self._mac(b"token", body, prefix))

    def judge(
        self, token: str, answer: str, prefix: str, now: float, lifetime: float = math.inf
    ) -> Pass:
        """Return the pass that an answer earns. Raises :class:`AnswerError`.

        ``lifetime``: seconds for which a pass is valid.
        """
        raw = _raw(token, _TOKEN)
        if raw is None:
            raise AnswerError("this is no token")
        body = raw[:-_MAC]
        if not hmac.compare_digest(raw[-_MAC:], self._mac(b"token", body, prefix)):
            raise AnswerError("the token was issued elsewhere, or to another address")
        found = _read(body)
        age = now - found.issued
        if not -SKEW_S <= age <= ANSWER_S or lifetime - age < 1:
            raise AnswerError("the token is too old")
        if _ANSWER.fullmatch(answer) is None:
            raise AnswerError("the answer is not a number")
        if zero_bits(sha256((token + answer).encode()).digest()) < found.bits:
            raise AnswerError("the answer is wrong")
        return found

    def make_pass(self, earned: Pass, prefix: str) -> str:
        """Return the value of the cookie; the same one for the same arguments."""
        body = _stated(earned.issued, earned.bits)
        return _text(body + self._mac(b"pass", body, prefix))

    def admits(self, value: str, prefix: str, bits: int, lifetime: float, now: float) -> bool:
        """Return whether ``value`` is a pass for ``prefix``, not older than ``lifetime`` seconds,
        for work of at least ``bits``.
        """
        raw = _raw(value, _PASS)
        if raw is None:
            return False
        body = raw[:-_MAC]
        found = _read(body)
        if found.bits < bits or not -SKEW_S <= now - found.issued < lifetime:
            return False
        return hmac.compare_digest(raw[-_MAC:], self._mac(b"pass", body, prefix))

    def _mac(self, kind: bytes, body: bytes, prefix: str) -> bytes:
        """Return the signature. ``body`` begins with the time of issue."""
        text = b"\0".join((kind, body, prefix.encode()))
        return hmac.digest(self._key(_read(body).issued // _DAY), text, "sha256")[:_MAC]

    def _key(self, day: int) -> bytes:
        found = self._keys.get(day)
        if found is None:
            if len(self._keys) >= _KEYS:  # clients can send any day
                self._keys.clear()
            found = hmac.digest(self._secret, b"lbproxy challenge %d" % day, "sha256")
            self._keys[day] = found
        return found


def _stated(issued: int, bits: int) -> bytes:
    return issued.to_bytes(4, "big") + bytes([bits])


def _read(body: bytes) -> Pass:
    return Pass(int.from_bytes(body[:4], "big"), body[4])


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _raw(text: str, length: int) -> bytes | None:
    """Decode a text of exactly ``length`` characters; None for any other, and for another encoding
    of the same bytes.
    """
    if len(text) != length:
        return None
    try:
        raw = urlsafe_b64decode(text + "=" * (-length % 4))
    except (ValueError, Error):
        return None
    return raw if _text(raw) == text else None
