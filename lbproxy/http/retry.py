"""PURE. The failures that are retried, and the pause before a retry.

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
"""Upper limit of the pause, as a multiple of the first one's bound (as in Envoy)."""

# these mean that the server does not support the request, not that it is unhealthy
_NOT_UNWELL = frozenset({501, 505})


def cause_of(kind: Kind) -> str:
    """Return the word for a failure of the server, "" for other failures."""
    return _CAUSE_OF.get(kind, "")


def is_server_error(status: int) -> bool:
    """Return whether a status means that the server is unhealthy."""
    return 500 <= status <= 599 and status not in _NOT_UNWELL


@frozen
class RetryPolicy:
    """The retry rules of a backend. ``kinds``: failures before the response head that are retried.

    ``statuses``: responses that are discarded for another attempt. ``backoff``: bound of the first
    pause in seconds, 0 for none.
    """

    kinds: Collection[Kind]
    statuses: Collection[int] = ()
    backoff: float = 0.0

    @classmethod
    def of(cls, words: Iterable[str], backoff: float = 0.0) -> RetryPolicy:
        """Create the policy from the words of ``retry_on``.

        A server that goes down meanwhile (``on_down = close``) did not process the request, so this
        failure is always included.
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
        """Return the seconds to wait after ``attempts`` (from 1) failed attempts. ``random()``
        returns 0 to 1.

        The pause has full jitter, between 0 and the bound, so that clients that failed together do
        not retry together.
        """
        if not self.backoff:
            return 0.0
        return min(float(1 << min(attempts - 1, 10)), BACKOFF_CAP) * self.backoff * random()
