"""DATA. A shorter call path from Twisted's epoll reactor to the poller, for a program that owns the
reactor.

The reactor sets a log context around each call of a descriptor. That takes ten Python calls, as
much time as the poller needs for several events. lbproxy's messages have a namespace and do not use
that context.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from twisted.python.log import callWithLogger

from lbproxy.net.poller import Poller

__all__ = ["dispatch_directly"]

_log = Logger()


def dispatch_directly(reactor: Any) -> bool:
    """Make ``reactor`` call a :class:`Poller` without a log context. Call it once, before the
    reactor runs.

    All other descriptors are called as before. Return whether ``reactor`` supports this: it must be
    Twisted's ``EPollReactor``, with the attributes that its ``doPoll`` uses.
    """
    kind = type(reactor)
    if (kind.__module__, kind.__name__) != ("twisted.internet.epollreactor", "EPollReactor"):
        return False
    try:
        poll, watched = reactor._poller.poll, reactor._selectables
        serve = reactor._doReadOrWrite
    except AttributeError as error:
        _log.warn("the reactor calls lbproxy through its log context: {error}", error=error)
        return False

    def turn(timeout: float | None) -> None:
        """Run one iteration, like ``EPollReactor.doPoll``."""
        for fd, events in poll(-1 if timeout is None else timeout, len(watched)):
            ready = watched.get(fd)
            if type(ready) is Poller:
                serve(ready, fd, events)
            elif ready is not None:  # otherwise it was removed in this iteration
                callWithLogger(ready, serve, ready, fd, events)

    reactor.doPoll = reactor.doIteration = turn
    return True
