"""DATA. One question to the processes of a firewall, from a request until its answer."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from lbproxy.net.timers import Timer
from lbproxy.proxy.features.waf.modsecurity.messages import Question, RuleAnswer

__all__ = ["Ask"]


@define(eq=False)
class Ask:
    """A question that waits or is being answered.

    ``done``: None once the question is over. ``dropped`` is called if its request ends earlier.
    """

    question: Question
    done: Callable[[RuleAnswer | None, str], None] | None
    dropped: Callable[[], None]
    timer: Timer = field(init=False)

    def cancel(self) -> None:
        """Drop the question: its request has ended."""
        self.done = None
        self.timer.close()
        self.dropped()

    def finish(self, answer: RuleAnswer | None, why: str = "") -> None:
        """Deliver the answer, or None and the reason, exactly once."""
        done, self.done = self.done, None
        self.timer.close()
        if done is not None:
            done(answer, why)
