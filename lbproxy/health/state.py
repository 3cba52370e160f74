"""PURE. The rise and fall state machine: from check results to up and down.

:mod:`lbproxy.checks.checker` uses one per server. The rules:

1. A server starts up, so that a restart does not refuse traffic. It is *fresh*: its first check
   alone decides, and one failure takes it down.
2. Up: ``fall`` consecutive failures take it down, a *certain* failure at once. A success resets the
   count.
3. Down: ``rise`` consecutive successes bring it up. A failure resets the count.
4. A server may also be *presumed* down at its start (``initial = down``). Its first check alone
   decides in both directions.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["HealthState", "Result", "Transition"]


@frozen
class Result:
    """The result of one check.

    - ``note``: text for humans, such as "status 503, wanted 200"; may be empty.
    - ``seconds``: duration of the check.
    - ``weight``: a new weight that the server announced, None if it announced none.
    - ``certain``: a failure that needs no confirmation, because the server itself reports that it
      has the wrong role.
    - ``drain``: the server is healthy and wants no new work, for example because it is about to
      stop. Running sessions may finish.
    """

    ok: bool
    note: str = ""
    seconds: float = 0.0
    weight: int | None = None
    certain: bool = False
    drain: bool = False


@frozen
class Transition:
    """A change between up and down.

    ``count`` consecutive results caused it; ``note`` is that of the last one.
    """

    healthy: bool
    note: str
    count: int


class HealthState:
    """The state of one server (see the module for the rules).

    ``streak``: number of consecutive results against the current state. ``fresh``: no check has
    completed yet. ``presumed``: the initial state is an assumption, so the first result always
    counts as a change.
    """

    __slots__ = ("fall", "fresh", "healthy", "presumed", "rise", "streak")

    def __init__(
        self, rise: int, fall: int, healthy: bool = True, *, presumed: bool = False
    ) -> None:
        if rise < 1 or fall < 1:
            raise ValueError("rise and fall must be at least 1")
        self.rise = rise
        self.fall = fall
        self.healthy = healthy
        self.fresh = True
        self.presumed = presumed
        self.streak = 0

    def result(self, result: Result) -> Transition | None:
        """Process one result; return the change that it causes, or None."""
        fresh, self.fresh = self.fresh, False
        if self.presumed:
            self.presumed = False
            self.healthy = result.ok
            return Transition(result.ok, result.note, 1)
        if result.ok is self.healthy:
            self.streak = 0
            return None
        self.streak += 1
        if self.streak < self._needed(fresh) and not (result.certain and self.healthy):
            return None
        count, self.streak = self.streak, 0
        self.healthy = result.ok
        return Transition(result.ok, result.note, count)

    def _needed(self, fresh: bool) -> int:
        if not self.healthy:
            return self.rise
        return 1 if fresh else self.fall

    def reset(self) -> None:
        """Reset the count and be fresh again, after a time without checks."""
        self.fresh = True
        self.streak = 0

    def interval(self, every: float, fast: float = 0.0, down: float = 0.0) -> float:
        """Return the seconds until the next check:

        ``fast`` during a transition, ``down`` while down.

        ``every`` replaces a value of 0.
        """
        if self.streak:
            return fast or every
        if not self.healthy:
            return down or every
        return every
