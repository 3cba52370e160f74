"""DATA. The interface that a :class:`~lbproxy.net.poller.Poller` calls: the owner of a
descriptor.
"""

from __future__ import annotations

from twisted.python.failure import Failure

from lbproxy.compiled import native

__all__ = ["Handler"]


@native(allow_interpreted_subclasses=True)
class Handler:
    """The owner of a descriptor: a transport, a port, or a connection attempt.

    It is a class and not a Protocol, so that mypyc compiles a call to a C call.
    """

    __slots__ = ()

    def on_events(self, events: int) -> None:
        """Handle the ``EPOLL*`` bits of the descriptor."""
        raise NotImplementedError

    def on_soon(self) -> None:
        """Run the work that ``Poller.soon`` or ``Poller.again`` was asked to call."""
        raise NotImplementedError

    def on_crash(self, reason: Failure) -> None:
        """Close for this reason, because another method raised or the poller closes."""
        raise NotImplementedError
