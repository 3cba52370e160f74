"""DATA. Selection by server name: exact name, then wildcard, then the default.

:class:`lbproxy.tls.contexts.ServerContextFactory` uses it for each handshake. O(1), without
Twisted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["NameTable"]

T = TypeVar("T")


class NameTable(Generic[T]):
    """Immutable map from names and ``*.`` wildcards to values.

    ``entries``: (names, value) pairs; the first pair with a name wins. ``default``: value for
    unknown names.
    """

    __slots__ = ("_exact", "_wild", "default")

    def __init__(self, entries: Iterable[tuple[Iterable[str], T]], default: T) -> None:
        self.default = default
        self._exact: dict[str, T] = {}
        self._wild: dict[str, T] = {}  # key: the part after the star, ".example.com"
        for names, thing in entries:
            for name in names:
                clean = name.lower().rstrip(".")
                if clean.startswith("*."):
                    self._wild.setdefault(clean[1:], thing)
                else:
                    self._exact.setdefault(clean, thing)

    def choose(self, name: str) -> T:
        """Return the value for ``name`` in any case; "" means that the client sent no name.

        A wildcard stands for exactly one label (RFC 6125 §6.4.3).
        """
        name = name.lower().rstrip(".")
        found = self._exact.get(name)
        if found is not None:
            return found
        dot = name.find(".")
        if dot > 0:
            return self._wild.get(name[dot:], self.default)
        return self.default
