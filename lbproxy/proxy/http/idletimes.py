"""DATA. The maximum idle time of connections to one server, learned from its responses and closes.

It is the base of :class:`lbproxy.proxy.http.connector.Connector`, whose rule 6 uses these times.
"""

from __future__ import annotations

from lbproxy.compiled import native
from lbproxy.http.idlelimit import MEMORY_S, IdleLimit
from lbproxy.net.timers import Timer
from lbproxy.proxy.terms import Terms

__all__ = ["IdleTimes"]


@native(allow_interpreted_subclasses=True)
class IdleTimes:
    """Tracks the idle time of a server. Nothing is allocated for a server that never shows it.

    ``rest_s``: maximum idle time of a connection in seconds. ``careful``: the server has shown how
    long it keeps idle connections. ``closed``: connections are no longer kept.
    """

    __slots__ = ("_forget", "_limit", "careful", "closed", "rest_s", "terms")

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.closed = False
        self.rest_s = terms.pool_idle
        self.careful = False
        self._limit: IdleLimit | None = None
        self._forget: Timer | None = None

    def announced(self, keep_alive: bytes) -> None:
        """Handle a response with a ``Keep-Alive`` field."""
        limit = self._limit
        if limit is None:
            limit = self._limit = IdleLimit()
        if limit.announced(keep_alive):
            self._follow(limit)

    def closed_idle(self, idle_s: float) -> None:
        """Handle a close by the server of a used connection after ``idle_s`` without a request."""
        if self.closed:
            return
        limit = self._limit
        if limit is None:
            limit = self._limit = IdleLimit()
        if self._forget is None:
            self._forget = self.terms.wheel.timer(self._forgotten)
        self._forget.set(MEMORY_S)
        limit.closed(idle_s, self.terms.wheel.now())
        self._follow(limit)

    def _follow(self, limit: IdleLimit) -> None:
        self.careful = True
        self.rest_s = limit.rest(self.terms.pool_idle)

    def _forgotten(self) -> None:
        limit = self._limit
        if limit is not None:
            limit.forget()
            self.rest_s = limit.rest(self.terms.pool_idle)
            self.careful = self.rest_s < self.terms.pool_idle

    def refit_times(self) -> None:
        """Apply changed :attr:`terms` after a reload."""
        most = self.terms.pool_idle
        self.rest_s = most if self._limit is None else self._limit.rest(most)

    def close_times(self) -> None:
        """Keep no connection, and learn no times, from now on."""
        self.closed = True
        if self._forget is not None:
            self._forget.close()
