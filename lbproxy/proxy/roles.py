"""DATA. Roles that features play for traffic.

A backend has one attribute for each role, None until a feature takes it.  Code that carries traffic
asks ``if backend.passive is not None``. This costs one attribute read and needs no knowledge of the
feature.  Two more roles have classes of their own: :class:`lbproxy.balance.sticky.Sticky` and
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
"""``gate(info)`` of a connection (``Frontend.gate``): the ProxyError that refuses it, or a function
that charges it once it is counted.  That returns None, or a ProxyError if it is refused after all.
"""


class BanJudge(Protocol):
    """Judges clients by their bans (``Frontend.ban_judge``)."""

    def admit(self, info: Any) -> ProxyError | None:
        """Return why the connection of a client is not accepted."""

    def closing_protocol(self, ip: str, announced: bool) -> IProtocol | None:
        """Return what ends a refused connection from ``ip``; None closes it.

        ``announced``: it is that of a proxy that names its client.
        """

    def ban(self, name: str, ip: str, reason: str, request: str = "") -> None:
        """Ban a client by ``[ban name]``, unless it is exempt."""

    def offence(
        self, name: str, ip: str, reason: str, traffic: Any = None, amount: float = 1.0
    ) -> None:
        """Count an offence against ``[ban name]``; ``traffic``: the request, if there is one."""


class Evidence(Protocol):
    """Hears how attempts and sessions ended (``Backend.passive``)."""

    def answered(self, server: ServerState, status: int, seconds: float) -> None:
        """The server gave a complete response."""

    def succeeded(self, server: ServerState, seconds: float) -> None:
        """An attempt or a session went well; ``seconds`` to the first answer, or to connect."""

    def failed(self, server: ServerState, kind: Kind) -> None:
        """An attempt failed."""

    def session_over(
        self, server: ServerState, kind: Kind, hollow: bool, connect_s: float, lasted_s: float
    ) -> None:
        """A TCP session that was connected has ended; ``hollow``: by the server, without a word."""


class FrontendClient(Protocol):
    """A live client of a frontend (``Frontend.clients``): a connection before its protocol starts,
    an HTTP connection or a TCP session.
    """

    def shut(self) -> None:
        """The frontend stops: close now if idle, else after what runs."""

    def kill(self, error: ProxyError) -> None:
        """End it at once, with ``error`` as the reason."""


class RefusalLog(Protocol):
    """Remembers requests that did not succeed (``Frontend.refusals``)."""

    def add(self, record: Any) -> None:
        """Note a finished exchange whose close reason is not ``ok``."""

    def add_session(self, record: Any) -> None:
        """Note a finished TCP session whose close reason is not ``ok``."""


class SessionWatch(Protocol):
    """Watches long-lived sessions (``Backend.rebalancer``)."""

    def watch(self, upgrade: bytes | None = None) -> Any:
        """The watch of a session that begins, or None; ``upgrade``: of a tunnel, None for TCP."""
