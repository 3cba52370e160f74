"""DATA. The roles of features in traffic.

A backend has one attribute for each role, None until a feature sets it. Code that handles traffic
tests ``if backend.passive is not None``, which costs one attribute read and needs no knowledge of
the feature. Two more roles have their own classes: :class:`lbproxy.balance.sticky.Sticky` and
:class:`lbproxy.health.breaker.RetryLimit`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from lbproxy.balance.lease import Lease

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol

    from lbproxy.balance.server import ServerState
    from lbproxy.errors import Kind, ProxyError

__all__ = ["BanJudge", "Evidence", "FrontendClient", "Gate", "Pick", "RefusalLog", "SessionWatch"]

Pick = Callable[..., Lease | None]
"""``pick(context, avoid=())``, as :meth:`lbproxy.balance.group.ServerGroup.pick`
(``Backend.pick``).
"""


Gate = Callable[[Any], Any]
"""``gate(info)`` of a connection (``Frontend.gate``). It returns the ProxyError that refuses it, or
a function that charges it once it is counted. That function returns None, or a ProxyError if it is
refused after all.
"""


class BanJudge(Protocol):
    """Checks clients for bans (``Frontend.ban_judge``)."""

    def admit(self, info: Any) -> ProxyError | None:
        """Return why the connection of a client is refused, or None."""

    def closing_protocol(self, ip: str, announced: bool) -> IProtocol | None:
        """Return what ends a refused connection from ``ip``; None closes it.

        ``announced``: the connection is that of a proxy that reports its client.
        """

    def ban(self, name: str, ip: str, reason: str, request: str = "") -> None:
        """Ban a client by ``[ban name]``, unless it is exempt."""

    def offence(
        self, name: str, ip: str, reason: str, traffic: Any = None, amount: float = 1.0
    ) -> None:
        """Count an offence against ``[ban name]``. ``traffic``: the request, if any."""


class Evidence(Protocol):
    """Gets the outcomes of attempts and sessions (``Backend.passive``)."""

    def answered(self, server: ServerState, status: int, seconds: float) -> None:
        """Handle a complete response of the server."""

    def succeeded(self, server: ServerState, seconds: float) -> None:
        """Handle a successful attempt or session. ``seconds`` to the first response byte, or to
        connect.
        """

    def failed(self, server: ServerState, kind: Kind) -> None:
        """Handle a failed attempt."""

    def session_over(
        self, server: ServerState, kind: Kind, hollow: bool, connect_s: float, lasted_s: float
    ) -> None:
        """Handle the end of a connected TCP session. ``hollow``: the server ended it without
        sending data.
        """


class FrontendClient(Protocol):
    """A live client of a frontend (``Frontend.clients``): a connection before its protocol, an HTTP
    connection or a TCP session.
    """

    def shut(self) -> None:
        """Close because the frontend stops: now if idle, else after the running request."""

    def kill(self, error: ProxyError) -> None:
        """End it at once, with ``error`` as the reason."""


class RefusalLog(Protocol):
    """Stores failed requests (``Frontend.refusals``)."""

    def add(self, record: Any) -> None:
        """Store a finished exchange whose close reason is not ``ok``."""

    def add_session(self, record: Any) -> None:
        """Store a finished TCP session whose close reason is not ``ok``."""


class SessionWatch(Protocol):
    """Watches long-lived sessions (``Backend.rebalancer``)."""

    def watch(self, upgrade: bytes | None = None) -> Any:
        """Return the watch of a new session, or None. ``upgrade``: of a tunnel, None for TCP."""
