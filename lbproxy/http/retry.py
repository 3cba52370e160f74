"""PURE. The failures after which another attempt is made, and the pause before it.

:mod:`lbproxy.proxy.http.attempts` calls it, through :class:`lbproxy.proxy.backend.Backend`. The
words of ``retry_on`` and of ``passive`` ``count`` are the keys of :data:`CAUSE`. Their names in
HAProxy and nginx:

===========  ==============================  =============================
word         HAProxy ``retry-on``            nginx ``proxy_next_upstream``
===========  ==============================  =============================
``connect``  ``conn-failure``                ``error`` (while connecting)
``reset``    ``empty-response``              ``error`` (after that)
``timeout``  ``response-timeout``            ``timeout``
``junk``     ``junk-response``               ``invalid_header``
a status     the same                        ``http_502`` ...
===========  ==============================  =============================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from attrs import frozen

from lbproxy.errors import Kind

__all__ = ["BACKOFF_CAP", "CAUSE", "IDEMPOTENT", "RetryPolicy", "cause_of", "is_server_error"]

# RFC 9110 §9.2.2
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})

CAUSE: dict[str, frozenset[Kind]] = {
    "connect": frozenset({Kind.CONNECT_FAILED, Kind.CONNECT_TIMEOUT, Kind.SERVER_TLS}),
    "reset": frozenset({Kind.SERVER_GONE}),
    "timeout": frozenset({Kind.RESPONSE_TIMEOUT, Kind.SERVER_TIMEOUT}),
    "junk": frozenset({Kind.BAD_RESPONSE}),
}
_CAUSE_OF = {kind: word for word, kinds in CAUSE.items() for kind in kinds}

BACKOFF_CAP = 10
"""The longest pause, as a multiple of the first one's bound (as in Envoy)."""

# these say that the server does not do this at all, not that it is unwell
_NOT_UNWELL = frozenset({501, 505})


def cause_of(kind: Kind) -> str:
    """The word for a failure of the server's, "" if it was not the server's."""
    return _CAUSE_OF.get(kind, "")


def is_server_error(status: int) -> bool:
    """A status that says that the server is unwell."""
    return 500 <= status <= 599 and status not in _NOT_UNWELL


@frozen
class RetryPolicy:
    """``kinds``: failures before the response head that another attempt may mend.

    ``statuses``: responses that are thrown away for another attempt. ``backoff``: bound of the
    first pause in seconds, 0 for none.
    """

    kinds: Collection[Kind]
    statuses: Collection[int] = ()
    backoff: float = 0.0

    @classmethod
    def of(cls, words: Iterable[str], backoff: float = 0.0) -> RetryPolicy:
        """From the words of ``retry_on``.

        A server that goes down meanwhile (``on_down = close``) never had a say, so that is always
        in.
        """
        kinds = {Kind.SERVER_DOWN}
        statuses: set[int] = set()
        for word in words:
            if word in CAUSE:
                kinds |= CAUSE[word]
            elif word == "5xx":
                statuses |= {status for status in range(500, 600) if is_server_error(status)}
            else:
                statuses.add(int(word))
        return cls(frozenset(kinds), frozenset(statuses), backoff)

    def pause(self, attempts: int, random: Callable[[], float]) -> float:
        """Seconds to wait after ``attempts`` (from 1) that failed; ``random()`` is 0 to 1.

        Full jitter: anything between nothing and the bound, so that clients that failed together do
        not come back together.
        """
        if not self.backoff:
            return 0.0
        return min(float(1 << min(attempts - 1, 10)), BACKOFF_CAP) * self.backoff * random()
