"""PURE: what an attack may cost, and whether it cost more."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

__all__ = ["Outcome", "faults"]

QUIET_MS = 5.0
"""A p99 below this is taken for this: a busy test machine has no better clock."""


@frozen
class Outcome:
    """One proxy under one attack. Times in ms, memory in MB.

    ``quiet``: p99 of an ordinary client before the attack; ``p50`` and ``p99`` during it.
    ``requests``, ``failed``: of that client during the attack. ``rest``, ``peak``, ``after``:
    resident memory before, at most during, and at most 30 s after it. ``alive``: the process did
    not end.
    """

    quiet: float
    p50: float
    p99: float
    requests: int
    failed: int
    rest: float
    peak: float
    after: float
    alive: bool = True

    @property
    def growth(self) -> float:
        """Memory that the attack cost, in MB."""
        return max(0.0, self.peak - self.rest)


def faults(found: Mapping[str, Outcome]) -> list[str]:
    """What lbproxy did worse than allowed; ``found``: outcomes by name of the proxy.

    - The process lives, and no ordinary request fails.
    - p99 is at most 3 times that of quiet, or 1.5 times that of the better rival.
    - Memory grows by at most twice HAProxy's growth plus 8 MB. Without HAProxy there is no bound.
    - Memory returns to at most 1.2 times that at rest, or rest plus the 8 MB.
    """
    mine = found["lbproxy"]
    rivals = [one for name, one in found.items() if name != "lbproxy" and not one.failed]
    wrong = []
    if not mine.alive:
        wrong.append("the process ended")
    if mine.failed or not mine.requests:
        wrong.append(f"{mine.failed} of {mine.requests} ordinary requests failed")
    allowed = 3 * max(mine.quiet, QUIET_MS)
    if rivals:
        allowed = max(allowed, 1.5 * min(one.p99 for one in rivals))
    if mine.p99 > allowed:
        wrong.append(f"p99 {mine.p99:.1f} ms, allowed {allowed:.1f}")
    haproxy = found.get("haproxy")
    if haproxy is not None and mine.growth > 2 * haproxy.growth + 8:
        wrong.append(f"memory +{mine.growth:.1f} MB, allowed {2 * haproxy.growth + 8:.1f}")
    back = max(1.2 * mine.rest, mine.rest + 8)
    if mine.after > back:
        wrong.append(f"{mine.after:.1f} MB after 30 s, allowed {back:.1f}")
    return wrong
