"""PURE. The differences between two responses to the same request.

:mod:`lbproxy.proxy.features.mirror` calls it.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

from attrs import define, field, frozen

from lbproxy.http.message import Headers

__all__ = ["BodyNote", "ComparedAnswer", "Comparison", "differences"]

# framing and hop-by-hop fields; the body is compared separately
_NEVER = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"via"})
_SHOWN = 60  # maximum length of a value in a description


class BodyNote:
    """The digest and size of a body that passes by, and its first ``keep`` bytes."""

    __slots__ = ("_hash", "_keep", "_kept", "_left", "size")

    def __init__(self, keep: int = 0) -> None:
        self._hash = blake2b(digest_size=16)
        self._keep = self._left = keep
        self._kept: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> None:
        """Process the next bytes."""
        self._hash.update(data)
        self.size += len(data)
        if self._left > 0:
            self._kept.append(data[: self._left])
            self._left -= len(data)

    @property
    def digest(self) -> bytes:
        """Return the digest of 16 bytes."""
        return self._hash.digest()

    @property
    def start(self) -> bytes:
        """Return the stored first bytes."""
        return b"".join(self._kept)


@define(eq=False)
class ComparedAnswer:
    """One response. ``status``, ``headers``: as a client gets them. ``seconds``: until the head
    arrived.

    ``body``: its first bytes, at most the mirror's ``body``; empty unless a predicate is used.
    ``size`` and ``digest`` are those of the whole body.
    """

    status: int
    headers: Headers = field(factory=list)
    seconds: float = 0.0
    size: int = 0
    digest: bytes = b""
    body: bytes = b""


@frozen
class Comparison:
    """The argument of a predicate: ``method`` and ``target`` of the request, and both responses."""

    method: bytes
    target: bytes
    original: ComparedAnswer
    copy: ComparedAnswer


def differences(
    original: ComparedAnswer,
    copy: ComparedAnswer,
    parts: Collection[str],
    ignore: Collection[bytes] = (),
) -> list[str]:
    """Return descriptions of the differences in ``parts``: "status", "headers", "body".

    ``ignore``: lower-case header names. Headers are compared by name without case, repeated ones in
    their order. The descriptions contain no values, because they may be secrets.
    """
    found: list[str] = []
    if "status" in parts and original.status != copy.status:
        found.append(f"status {original.status}/{copy.status}")
    if "headers" in parts:
        one, two = _by_name(original.headers, ignore), _by_name(copy.headers, ignore)
        for name in sorted(one.keys() | two.keys()):
            shown = name.decode("latin-1")[:_SHOWN]
            if name not in two:
                found.append(f"header {shown} missing")
            elif name not in one:
                found.append(f"header {shown} added")
            elif one[name] != two[name]:
                found.append(f"header {shown}")
    if "body" in parts and (original.size, original.digest) != (copy.size, copy.digest):
        sizes = f" {original.size}/{copy.size} bytes" if original.size != copy.size else ""
        found.append(f"body{sizes}")
    return found


def _by_name(headers: Headers, ignore: Collection[bytes]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        low = name.lower()
        if low not in _NEVER and low not in ignore:
            found.setdefault(low, []).append(value)
    return found
