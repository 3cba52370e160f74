"""DATA. Counts attempts at a server, for exchanges and TCP sessions.

``holder`` is the session or attempt that runs on the server and is listed among its sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.errors import Outcome, ProxyError

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend

__all__ = ["begin", "fail", "give_back"]

_OK: Final = Outcome.OK
_FAILED: Final = Outcome.FAILED


def begin(lease: Lease, holder: Any) -> ServerState:
    """List ``holder``, which has a lease, among the sessions of the server, and return the
    server.
    """
    server = lease.server
    server.sessions.add(holder)
    server.counters.picked += 1
    return server


def fail(
    backend: Backend, lease: Lease, holder: Any, error: ProxyError, judged: bool, seconds: float
) -> None:
    """Report a failed attempt to passive health if it is ``judged``, and release the lease.

    The holder is unlisted first: if this ejects the server, the attempt is over already.
    """
    server = lease.server
    server.sessions.discard(holder)
    if judged and backend.passive is not None:
        backend.passive.failed(server, error.kind)
    give_back(lease, error.outcome, seconds)


def give_back(lease: Lease, outcome: Outcome, seconds: float) -> None:
    """Count the outcome, and release the lease with it; ``seconds`` as in :meth:`Lease.release`."""
    counters = lease.server.counters
    if outcome is _OK:
        counters.ok += 1
    elif outcome is _FAILED:
        counters.failed += 1
    lease.release(outcome, seconds)
