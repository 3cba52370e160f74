"""PURE. The rate of a limit: an amount per time, and a burst."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Rate"]


@frozen
class Rate:
    """``amount`` units in ``seconds``; ``burst`` units at once, at least 1.

    A bucket of ``burst`` units refills at ``amount / seconds`` a second.  A window counts ``burst``
    units in any ``seconds``.
    """

    amount: float
    seconds: float
    burst: float

    @property
    def each(self) -> float:
        """Seconds in which one unit is regained."""
        return self.seconds / self.amount
