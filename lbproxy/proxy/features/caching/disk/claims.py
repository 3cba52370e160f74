"""DATA. Claims of fetches in a folder: one process fetches a response, and the others wait for it.

A claim is a kernel lock on one byte of the file ``claims``, so it ends with its process. The byte
is derived from the key; two keys with the same byte merely wait for each other. For each byte, the
file also has the last key whose response was not stored, and the time until which requests for that
key do not wait.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["PASS_SECONDS", "Claim", "FetchClaims"]

NAME: Final = "claims"

PASS_SECONDS: Final = 120.0
"""Seconds for which requests of a key do not wait for each other after an unstored response."""

_SKEW: Final = 1.0
"""Seconds by which the clocks of two processes may differ; a larger difference means that the clock
has been set back.
"""

_SLOTS: Final = 65536
_PASSING: Final = struct.Struct(">16sd")  # digest of the key; Unix time
_LOCK: Final = struct.Struct("hhqqi")  # type, whence, start, length, process


class Claim:
    """A claim that this process holds until :meth:`release`."""

    __slots__ = ("_claims", "_key")

    def __init__(self, claims: FetchClaims, key: bytes) -> None:
        self._claims: FetchClaims | None = claims
        self._key = key

    def release(self, passing_until: float = 0.0) -> None:
        """Let other processes fetch. A second call has no effect.

        ``passing_until``: Unix time until which requests for the key do not wait, as its response
        is not stored.
        """
        claims, self._claims = self._claims, None
        if claims is not None:
            claims.release(self._key, passing_until)


class FetchClaims:
    """The claims in the existing ``folder``. Keys are digests of 16 bytes. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._fd = -1
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(folder / NAME, flags, 0o600)
        self._held: dict[int, int] = {}  # claims of this process, by slot

    def close(self) -> None:
        """Give up all claims. Releasing them afterwards has no effect."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def claim(self, key: bytes) -> Claim | None:
        """Return a claim to fetch ``key``, None if another process has one.

        After :meth:`close` no request waits.
        """
        slot = _slot(key)
        if slot not in self._held and not self._lock(slot, fcntl.F_WRLCK):
            return None
        self._held[slot] = self._held.get(slot, 0) + 1
        return Claim(self, key)

    def is_free(self, key: bytes) -> bool:
        """Return whether no other process has a claim on ``key``."""
        found = self.claim(key)
        if found is not None:
            found.release()
        return found is not None

    def passes(self, key: bytes, now: float) -> bool:
        """Return whether the last response of ``key`` was not stored, so that no request waits."""
        data = b""
        with suppress(OSError):
            data = os.pread(self._fd, _PASSING.size, _slot(key) * _PASSING.size)
        if len(data) < _PASSING.size:
            return False
        known, until = _PASSING.unpack(data)
        return known == key and bool(now < until <= now + PASS_SECONDS + _SKEW)

    def release(self, key: bytes, passing_until: float) -> None:
        """See :meth:`Claim.release`."""
        slot = _slot(key)
        if passing_until:
            with suppress(OSError):
                data = _PASSING.pack(key, passing_until)
                os.pwrite(self._fd, data, slot * _PASSING.size)
        left = self._held.pop(slot) - 1
        if left:
            self._held[slot] = left
        else:
            self._lock(slot, fcntl.F_UNLCK)

    def _lock(self, slot: int, kind: int) -> bool:
        """Lock or unlock a byte; return False if another process has the lock.

        If the kernel does not support locks, no request waits. A closed file has lost its locks.
        """
        if self._fd < 0:
            return True
        wanted = _LOCK.pack(kind, os.SEEK_SET, slot, 1, 0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, wanted)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True
        return True


def _slot(key: bytes) -> int:
    return int.from_bytes(key[:2], "big") % _SLOTS
