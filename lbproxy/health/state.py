"""PURE. The rise and fall machine: from check results to verdicts.

Used by :mod:`lbproxy.checks.checker`, one per server.  The rules:

1. A server starts up, so that a restart does not refuse traffic; but it is *fresh*: its first check alone
   decides, one failure takes it down.
2. Up: ``fall`` failures in a row take it down, a *certain* one at once; a success forgets earlier failures.
3. Down: ``rise`` successes in a row bring it up; a failure forgets earlier successes.
4. A server may also be *presumed* down at its start (``initial = down``); its first check alone decides, either way.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["HealthState", "Result", "Transition"]


@frozen
class Result:
    """What one check found.

    ``note``: for people, such as "status 503, wanted 200"; may be empty.  ``seconds``: how long it took.
    ``weight``: a new weight that the server announced, None for no opinion.
    ``certain``: a failure that need not be repeated to be believed: the server itself said that it is not
    what is wanted.
    ``drain``: it is well, and wants no new work (it is about to stop, say); what runs on it may finish.
    """

    ok: bool
    note: str = ""
    seconds: float = 0.0
    weight: int | None = None
    certain: bool = False
    drain: bool = False


@frozen
class Transition:
    """A change of verdict; ``count`` results in a row caused it, ``note`` is the last one's."""

    healthy: bool
    note: str
    count: int


class HealthState:
    """See the module.  ``streak`` counts the results in a row that speak against the present verdict.

    ``fresh``: no check has spoken yet.  ``presumed``: nor has anybody else, so the first result is news in any case.
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
        """Take one result in; the change it makes, if any."""
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
        """Forget the streak and be fresh again (the server was not checked for a while)."""
        self.fresh = True
        self.streak = 0

    def interval(self, every: float, fast: float = 0.0, down: float = 0.0) -> float:
        """Seconds until the next check: ``fast`` while a change is under way, ``down`` while down.

        0 for either stands for ``every``.
        """
        if self.streak:
            return fast or every
        if not self.healthy:
            return down or every
        return every
