"""PURE. Selection of the usable addresses of a server whose name has several.

:mod:`lbproxy.checks.checker` has one :class:`AddressHealth` for each server. Every address has its
own rise and fall counts (:mod:`lbproxy.health.state`). The server passes a check if one address
passes.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from lbproxy.health.state import HealthState, Result

__all__ = ["AddressHealth"]


class AddressHealth:
    """The states of one server's addresses, by their texts."""

    __slots__ = ("_fall", "_rise", "_states")

    def __init__(self, rise: int, fall: int) -> None:
        self._rise = rise
        self._fall = fall
        self._states: dict[str, HealthState] = {}

    def judge(self, results: Mapping[str, Result]) -> tuple[frozenset[str], Result]:
        """Process one result for each address.

        Return the addresses that traffic must not use, and the result for the server. If no address
        is up, none is excluded: the state of the server decides.
        """
        states = self._states
        self._states = {
            address: states.get(address) or HealthState(self._rise, self._fall)
            for address in results
        }
        for address, result in results.items():
            self._states[address].result(result)
        down = frozenset(text for text, state in self._states.items() if not state.healthy)
        return (frozenset() if len(down) == len(results) else down), _together(results)

    def forget(self) -> None:
        """Start fresh, because the server has at most one address now."""
        self._states.clear()


def _together(results: Mapping[str, Result]) -> Result:
    """Return the result for the server: that of the first address that passes, or else of the first
    address.
    """
    failed = {address: one for address, one in results.items() if not one.ok}
    seconds = max(one.seconds for one in results.values())
    if not failed:
        return evolve(next(iter(results.values())), seconds=seconds)
    note = "; ".join(f"{address}: {one.note or 'failed'}" for address, one in failed.items())
    passed = [one for one in results.values() if one.ok]
    if passed:
        return evolve(passed[0], note=note, seconds=seconds)
    certain = all(one.certain for one in failed.values())
    return Result(False, note, seconds, certain=certain)
