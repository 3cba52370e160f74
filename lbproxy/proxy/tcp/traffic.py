"""DATA. The public data about a TCP session, for filters, balancers, session lists and the access
log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lbproxy.balance.lease import Lease
from lbproxy.balance.server import ServerState
from lbproxy.errors import ProxyError
from lbproxy.model import Address
from lbproxy.observe.record import Record
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.tcp.state import SessionState
from lbproxy.proxy.tries import NONE_TRIED

if TYPE_CHECKING:
    from lbproxy.proxy.backend import Backend
    from lbproxy.proxy.frontend import Frontend

__all__ = ["TCPTraffic"]

_ROUTING: Final = SessionState.ROUTING


class TCPTraffic(Record):
    """One session.

    ``transport``: of the client. ``priority``: in the backend's queue, lower ones first. ``tried``:
    servers whose attempts failed. ``waiting``: a running asynchronous filter. ``vars``: data of
    filters. ``address``: of the server's connection. ``watched``: see
    :mod:`lbproxy.proxy.features.rebalancer`.
    """

    __slots__ = (
        "address",
        "alpn",
        "backend",
        "frontend",
        "priority",
        "sni",
        "state",
        "transport",
        "tried",
        "vars",
        "waiting",
        "watched",
    )

    request = None
    reused = False
    t_header = -1.0
    t_response = -1.0

    def __init__(self, frontend: Frontend, info: ConnectionInfo) -> None:
        super().__init__(info, info.connected)
        self.transport: Any = None
        self.frontend = frontend
        self.frontend_name = frontend.name
        self.sni = info.sni
        self.alpn = info.alpn
        self.backend: Backend | None = None
        self.address: Address | None = None
        self.priority = 0
        self.state = _ROUTING
        self.tried: Sequence[ServerState] = NONE_TRIED
        self.waiting: Deferred[Any] | None = None
        self.vars: dict[str, Any] | None = None
        self.watched: Any = None

    @property
    def traffic(self) -> TCPTraffic:
        """The input of balancers and session lists."""
        return self

    @property
    def tunnelled(self) -> bool:
        """False, because a session has no request that could become a tunnel."""
        return False

    def track(self, name: str, amount: float = 1.0) -> None:
        """Count ``amount`` in the ``[track name]``, for the key of this traffic.

        Raises ValueError if the configuration has no such section.
        """
        found = self.frontend.tracks.get(name)
        if found is None:
            raise ValueError(f"there is no [track {name}]")
        found.add(self, amount)

    # -- the calls of the queue -----------------------------------------------------------------

    def leased(self, lease: Lease) -> None:
        """Handle a lease from the queue."""
        raise NotImplementedError

    def refused(self, error: ProxyError) -> None:
        """Handle a refusal by the queue."""
        raise NotImplementedError

    # -- an attempt's calls ---------------------------------------------------------------------

    def attempt_connected(self) -> None:
        """Note that the connection to the server is established."""
        raise NotImplementedError

    def attempt_failed(self, error: ProxyError) -> None:
        """Handle a failed attempt; its lease is released."""
        raise NotImplementedError

    def server_half_closed(self) -> None:
        """Handle the end of the server's direction."""
        raise NotImplementedError

    def server_lost(self, reason: Failure) -> None:
        """Handle the end of the server's connection."""
        raise NotImplementedError

    def moved_out(self, size: int) -> None:
        """Handle bytes that the kernel has read from the server; 0: the client has read some."""
        raise NotImplementedError
