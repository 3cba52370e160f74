"""DATA. The interface that a :class:`~lbproxy.net.poller.Poller` calls: the owner of a
descriptor.
"""

from __future__ import annotations

from twisted.python.failure import Failure

from lbproxy.compiled import native

__all__ = ["Handler"]


@native(allow_interpreted_subclasses=True)
class Handler:
    """A transport, a port, a connection being made.

    A class and not a Protocol, because the compiler then turns a call into a C call.
    """

    __slots__ = ()

    def on_events(self, events: int) -> None:
        """The descriptor has these ``EPOLL*`` bits."""
        raise NotImplementedError

    def on_soon(self) -> None:
        """The call that ``Poller.soon`` or ``Poller.again`` was asked for."""
        raise NotImplementedError

    def on_crash(self, reason: Failure) -> None:
        """One of the other methods raised, or the poller closes: close, for this reason."""
        raise NotImplementedError
