"""DATA. Traffic that a feature holds for a while, in a queue or in a tarpit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from lbproxy.errors import ProxyError
from lbproxy.net.timers import TimerWheel

__all__ = ["HELD", "hold"]

HELD = 1000
"""Maximum number of requests that a limit or a ban holds in the tarpit. Further ones are refused at
once.
"""


def hold(
    wheel: TimerWheel, seconds: float, over: Callable[[], None], error: ProxyError | None
) -> Deferred[None]:
    """Fire after ``seconds``, or fail with ``error``.

    ``over()`` runs once, even if the Deferred was cancelled.
    """

    def end(_: Any = None) -> None:
        timer.close()
        over()

    def fire() -> None:
        end()
        if error is None:
            done.callback(None)
        else:
            done.errback(error)

    done: Deferred[None] = Deferred(end)
    timer = wheel.timer(fire)
    timer.set(seconds)
    return done
