"""PURE. A table of numbers by key, in one piece of memory of fixed size.

The memory is an array of 64-bit words. A cell consists of a fingerprint of its key, its expiry
time, and ``extra`` numbers. A key may be in any of the :data:`WAYS` cells of one set, so that a
lookup reads 8 words. Processes that map the same memory and have the same secret share the table.

If no cell of a set has expired, the one that expires first is replaced. For a limit that is the key
with the least debt. Its client gains that debt, and a client that invents many keys does not
displace keys whose debt is greater than its own.

If two processes write a cell in the same microsecond, one write may be lost.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from lbproxy.compiled import native

__all__ = ["COUNTERS", "KEYS", "WAYS", "Cells", "cell_bytes"]

WAYS: Final = 8
"""Number of cells in a set."""

KEYS: Final = 1_000_000
"""Capacity of the table of buckets in keys: 32 MiB, of which only used pages count."""

COUNTERS: Final = 100_000
"""Capacity of the table of windows in keys: 22 MiB."""

_BYTES: Final = 8
_SAMPLE: Final = 4096  # number of sets in the sample for estimating the number of used cells


@native(allow_interpreted_subclasses=True)
class Cells:
    """A table of cells. ``memory``: zeroed bytes, a power of two of sets of :data:`WAYS` cells; see
    :meth:`size`.

    ``dropped``: number of keys that this process has dropped before their expiry.
    """

    def __init__(self, memory: memoryview, extra: int = 0, secret: bytes = b"") -> None:
        self._secret = secret[:64]
        self.extra = extra
        row = WAYS * (2 + extra)
        self._count = len(memory) // (row * _BYTES)
        if self._count < 1 or self._count & (self._count - 1):
            raise ValueError("the number of sets is not a power of two")
        self._mask = self._count - 1
        self._row = row
        self._names: memoryview[int] = memory.cast("B").cast("Q")
        self.words: memoryview[float] = memory.cast("B").cast("d")
        self.dropped = 0

    @staticmethod
    def size(keys: int, extra: int = 0) -> int:
        """Return the size in bytes of a table for ``keys`` keys at a time.

        It has at least twice that capacity, because sets fill unevenly: with ``keys`` keys, fewer
        than one in 20 finds its set full.
        """
        sets = 1
        while sets * WAYS < keys * 2:
            sets *= 2
        return sets * WAYS * (2 + extra) * _BYTES

    @property
    def cells(self) -> int:
        """The number of cells."""
        return self._count * WAYS

    def ident(self, key: str) -> int:
        """Return the fingerprint of ``key``: 64 bits, never 0.

        Without the secret, clients cannot choose keys that share a set.
        """
        digest = blake2b(key.encode("utf-8", "replace"), key=self._secret, digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1

    def find(self, ident: int) -> int:
        """Return the index in ``words`` of the expiry time of the key's cell; -1 if it has none.

        The extra numbers follow it at distances of :data:`WAYS`.
        """
        base = (ident & self._mask) * self._row
        names = self._names[base : base + WAYS].tolist()
        return base + WAYS + names.index(ident) if ident in names else -1

    def holds(self, at: int, ident: int) -> bool:
        """Return whether the cell of a key is still at the index that :meth:`find` has given."""
        return self._names[at - WAYS] == ident

    def place(self, ident: int, now: float) -> int:
        """Return the index like :meth:`find`; a key without a cell gets a new one of zeros."""
        found = self.find(ident)
        if found >= 0:
            return found
        base = (ident & self._mask) * self._row
        untils: Any = self.words[base + WAYS : base + 2 * WAYS].tolist()  # typed as int
        least: float = min(untils)
        if least > now:
            self.dropped += 1
        way: int = base + untils.index(least)
        self._names[way] = ident
        for step in range(1, 2 + self.extra):
            self.words[way + step * WAYS] = 0.0
        return way + WAYS

    def forget(self, ident: int) -> bool:
        """Drop the cell of a key. Return False if it had none."""
        at = self.find(ident)
        if at < 0:
            return False
        self.words[at] = 0.0
        self._names[at - WAYS] = 0
        return True

    def used(self, now: float) -> int:
        """Return an estimate of the number of cells not expired at ``now``, from a sample of the
        sets.
        """
        step = max(1, self._count // _SAMPLE)
        looked = range(0, self._count, step)
        words, row = self.words, self._row
        found = 0
        for number in looked:
            untils: Any = words[number * row + WAYS : number * row + 2 * WAYS].tolist()
            for until in untils:
                if until > now:
                    found += 1
        return found * self._count // len(looked)


def cell_bytes(extra: int) -> int:
    """Return the size in bytes of the table that all limits with ``extra`` numbers share."""
    return Cells.size(COUNTERS if extra else KEYS, extra)
