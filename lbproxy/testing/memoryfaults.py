"""PURE. Faults of the in-memory network: addresses that are unreachable, cut off or slow."""

from __future__ import annotations

from collections.abc import Set

__all__ = ["Faults"]


class Faults:
    """The present faults. Addresses are ``"10.0.0.1:80"``, ``"10.0.0.1"`` or a Unix path."""

    def __init__(self) -> None:
        self._cut: set[str] = set()
        self._dark: set[str] = set()
        self._slow: dict[str, float] = {}

    def __bool__(self) -> bool:
        """Return whether any address is cut off or slow."""
        return bool(self._cut or self._slow)

    def darken(self, address: str) -> None:
        """Drop connection attempts to this address."""
        self._dark.add(address)

    def cut(self, address: str) -> None:
        """Drop connection attempts to this address, and data on existing connections."""
        self._cut.add(address)

    def slow(self, address: str, seconds: float) -> None:
        """Delay data to or from this address by ``seconds``, one way."""
        self._slow[address] = seconds

    def heal(self, address: str) -> None:
        """Remove the faults of one address, or of all addresses ("")."""
        if not address:
            self._dark.clear()
            self._cut.clear()
            self._slow.clear()
            return
        self._dark.discard(address)
        self._cut.discard(address)
        self._slow.pop(address, None)

    def drops_attempt(self, names: Set[str]) -> bool:
        """Return whether an attempt at an address with these names is never answered."""
        return not (self._dark.isdisjoint(names) and self._cut.isdisjoint(names))

    def drops_data(self, names: Set[str]) -> bool:
        """Return whether a connection between ends with these names is cut off."""
        return not self._cut.isdisjoint(names)

    def delay(self, names: Set[str]) -> float:
        """Return the additional delay of data in seconds, one way."""
        return sum(self._slow.get(name, 0.0) for name in names)
