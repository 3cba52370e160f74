"""DATA. The waiting line of a backend whose servers are all at their ``maxconn``, or (``no_server = queue``) down."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Protocol

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import RequestHead
from lbproxy.net.timers import Timer, TimerWheel

__all__ = ["Queue", "Waiter"]


class Waiter(Protocol):
    """Somebody who wants a server: an HTTP exchange or a TCP session.  Also the balancer's PickContext."""

    client_ip: str
    sni: str
    tried: list[ServerState]

    @property
    def request(self) -> RequestHead | None:
        """None for raw TCP."""

    def leased(self, lease: Lease) -> None:
        """Here is your server."""

    def refused(self, error: ProxyError) -> None:
        """You waited in vain."""


class Queue:
    """First in, first out; every place has a deadline; at most ``limit`` places."""

    def __init__(self, wheel: TimerWheel, limit: int, timeout: float) -> None:
        self._wheel = wheel
        self.limit = limit
        self.timeout = timeout
        self._places: OrderedDict[Waiter, Timer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def join(self, waiter: Waiter) -> None:
        """Wait.  Raises :class:`ProxyError` QUEUE_FULL when there is no place."""
        if len(self._places) >= self.limit:
            raise ProxyError(Kind.QUEUE_FULL, f"{len(self._places)} waiting")
        timer = self._wheel.timer(partial(self._expired, waiter))
        timer.set(self.timeout)
        self._places[waiter] = timer

    def leave(self, waiter: Waiter) -> None:
        """The waiter is gone; harmless if it does not wait."""
        timer = self._places.pop(waiter, None)
        if timer is not None:
            timer.close()

    def first(self) -> Waiter:
        """Who is next; the queue must not be empty."""
        return next(iter(self._places))

    def refuse_all(self, error: ProxyError) -> None:
        """Send everybody away."""
        while self._places:
            waiter, timer = self._places.popitem(last=False)
            timer.close()
            waiter.refused(error)

    def _expired(self, waiter: Waiter) -> None:
        timer = self._places.pop(waiter, None)
        if timer is not None:
            timer.close()
            waiter.refused(ProxyError(Kind.QUEUE_TIMEOUT, f"no server free for {self.timeout:g} s"))
