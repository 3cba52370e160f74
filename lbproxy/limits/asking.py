"""PURE. Several rates for one request: all are checked before any is charged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from lbproxy.limits.rate import Rate

__all__ = ["Charge", "Method", "charge_all", "first_refusal"]


class Method(Protocol):
    """The method of a rate: :class:`~lbproxy.limits.bucket.Buckets` or
    :class:`~lbproxy.limits.window.Windows`.
    """

    rate: Rate

    def ident(self, key: str) -> int:
        """Return the number that represents ``key`` in the other methods."""

    def ask(self, ident: int, cost: float, now: float) -> float:
        """Return the seconds until ``cost`` units are free; 0 if they are. Nothing is charged."""

    def charge(self, ident: int, cost: float, now: float) -> None:
        """Take ``cost`` units."""

    def left(self, ident: int, now: float) -> float:
        """Return the number of free units."""

    def reset(self, ident: int, now: float) -> float:
        """Return the seconds until all units are free."""

    def forget(self, ident: int) -> bool:
        """Delete the use of a key. Return False if it had none."""


@frozen
class Charge:
    """A charge of ``cost`` units to the key ``ident`` of ``method``."""

    method: Method
    ident: int
    cost: float


def first_refusal(charges: Sequence[Charge], now: float) -> tuple[Charge, float] | None:
    """Return the charge with the longest wait, and that wait in seconds; None if all can be
    made.
    """
    found: tuple[Charge, float] | None = None
    for one in charges:
        wait = one.method.ask(one.ident, one.cost, now)
        if wait > 0 and (found is None or wait > found[1]):
            found = one, wait
    return found


def charge_all(charges: Sequence[Charge], now: float) -> None:
    """Make all charges."""
    for one in charges:
        one.method.charge(one.ident, one.cost, now)
