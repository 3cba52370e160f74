"""PURE. The live state of one server in one backend."""

from __future__ import annotations

from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Protocol

from lbproxy.compiled import native

if TYPE_CHECKING:
    from lbproxy.errors import Kind
    from lbproxy.model import Address, ServerSpec

__all__ = [
    "CONFIG",
    "OPERATOR",
    "AdminState",
    "RunningSession",
    "ServerCounters",
    "ServerState",
    "SessionTraffic",
    "State",
]

CONFIG = "config"
OPERATOR = "operator"
"""Origins of a server. A server found by discovery has the origin ``discovery:NAME``."""


def _literal(address: Address) -> bool:
    """Return whether an address can be dialled without name resolution."""
    if address.kind == "unix":
        return True
    try:
        ip_address(address.host)
    except ValueError:
        return False
    return True


class AdminState(str, Enum):
    """The state that the operator wants; ``ready`` leaves the decision to health."""

    READY = "ready"
    DRAIN = "drain"  # no new work; running work may finish
    MAINT = "maint"  # no new work, no probes


class State(str, Enum):
    """The state that traffic sees. The operator's state takes precedence over health."""

    UP = "up"
    DOWN = "down"
    DRAIN = "drain"
    MAINT = "maint"


_READY: Final = AdminState.READY  # cached, because each enum member access costs a lookup
_ADMIN_DRAIN: Final = AdminState.DRAIN
_ADMIN_MAINT: Final = AdminState.MAINT
_UP: Final = State.UP
_DOWN: Final = State.DOWN
_DRAIN: Final = State.DRAIN
_MAINT: Final = State.MAINT


class SessionTraffic(Protocol):
    """The properties of a session that lists of sessions show.

    ``client_ip``, ``client_port`` and ``frontend_name`` identify the client. ``request``: None for
    raw TCP. ``tunnelled``: a WebSocket, another upgrade, or CONNECT. ``started``: monotonic time in
    seconds. ``bytes_in`` and ``bytes_out``: bytes from and to the client.
    """

    @property
    def client_ip(self) -> str: ...
    @property
    def client_port(self) -> int: ...
    @property
    def frontend_name(self) -> str: ...
    @property
    def request(self) -> Any: ...
    @property
    def tunnelled(self) -> bool: ...
    @property
    def started(self) -> float: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...


class RunningSession(Protocol):
    """A TCP session, or an attempt at a request, that runs on a server.

    ``traffic`` describes it.
    """

    @property
    def traffic(self) -> SessionTraffic: ...
    @property
    def address(self) -> Address | None:
        """The address of the server that it is connected to, None before."""

    def server_gone(self, kind: Kind) -> None:
        """End the session, because the server went down or an operator requested it."""


class ServerCounters:
    """Totals since the start, as plain ints that the hot path increments."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "connect_errors",
        "connects",
        "downs",
        "ejections",
        "failed",
        "ok",
        "picked",
        "probes_failed",
        "probes_ok",
        "retried",
        "reused",
    )

    def __init__(self) -> None:
        self.picked = self.ok = self.failed = self.retried = 0
        self.connects = self.connect_errors = self.reused = 0
        self.bytes_in = 0  # from the client to the server
        self.bytes_out = 0  # from the server to the client
        self.probes_ok = self.probes_failed = 0
        self.downs = self.ejections = 0


@native(allow_interpreted_subclasses=True)
class ServerState:
    """The live state of one server, compared by identity.

    Its :class:`lbproxy.balance.group.ServerGroup` owns it. Only the group's methods write
    ``weight``, ``admin``, ``agent``, ``healthy``, ``leaving``, ``ejected``, ``addresses`` and
    ``unusable``.

    ``active`` counts leases, including those of other worker processes (``remote_active``).
    ``maxconn`` 0 means no limit. ``addresses`` are IP literals or a Unix path to dial, empty until
    a name is resolved. ``unusable``: texts of those that fail their checks while others pass.
    ``sessions`` run on the server; ``on_down = close`` ends them. ``tls``: how the backend speaks
    TLS to the server; None without TLS. ``connector``: makes and keeps the backend's connections to
    the server. ``full_weight`` is the configured weight, ``share`` the part of it that the server
    has now (slow start). ``weight`` is what balancers see: only its ratio to other weights matters.
    ``origin``: source of the server, ``config``, ``operator`` or ``discovery:NAME``. ``private``
    belongs to the balancer. ``listed``: the balancer may pick the server. ``since``: time of the
    last change of ``state``, in the group's clock.
    """

    __slots__ = (
        "active",
        "addresses",
        "admin",
        "agent",
        "agent_note",
        "agent_share",
        "backend",
        "connector",
        "counters",
        "ejected",
        "ejected_note",
        "full_weight",
        "health_note",
        "healthy",
        "leaving",
        "listed",
        "maxconn",
        "name",
        "origin",
        "private",
        "remote_active",
        "remote_sessions",
        "sessions",
        "share",
        "since",
        "spec",
        "tls",
        "unusable",
        "weight",
    )

    def __init__(
        self,
        backend: str,
        spec: ServerSpec,
        weight: int = 1,
        maxconn: int = 0,
        addresses: tuple[Address, ...] = (),
        origin: str = CONFIG,
    ) -> None:
        self.backend = backend
        self.name = spec.name  # unique in its backend
        self.spec = spec
        self.weight = self.full_weight = weight
        self.share = 1.0
        self.maxconn = maxconn
        self.admin = _READY
        self.healthy = True
        self.health_note = ""
        self.leaving = False  # its check reports that it accepts no new work
        self.agent = _UP  # the state that its agent requests; UP means no request
        self.agent_note = ""
        self.agent_share = 1.0  # part of the weight that its agent requests
        self.ejected = False  # ejected by passive health, temporarily
        self.ejected_note = ""
        self.addresses = addresses
        self.unusable: frozenset[str] = frozenset()
        self.origin = origin
        self.active = 0
        self.remote_active = 0  # leases in ``active`` that other processes hold
        self.sessions: set[RunningSession] = set()
        self.remote_sessions = 0  # sessions of the workers, in a master
        self.counters = ServerCounters()
        self.tls: Any = None
        self.connector: Any = None
        self.private: Any = None
        self.listed = False
        self.since = 0.0

    @classmethod
    def from_spec(cls, backend: str, spec: ServerSpec, origin: str = CONFIG) -> ServerState:
        """Create a server from its configuration.

        A host name has no ``addresses`` until it is resolved.
        """
        made = cls(
            backend,
            spec,
            weight=spec.weight,
            maxconn=spec.maxconn,
            addresses=tuple(one for one in spec.target.sockets if _literal(one)),
            origin=origin,
        )
        made.admin = AdminState(spec.admin)
        return made

    @property
    def discovered(self) -> bool:
        """True if a discovery found the server."""
        return self.origin.startswith("discovery:")

    @property
    def usable(self) -> tuple[Address, ...]:
        """The addresses to dial: those that checks pass, or all if checks pass none."""
        unusable = self.unusable
        found = tuple(one for one in self.addresses if str(one) not in unusable)
        return found or self.addresses

    @property
    def session_count(self) -> int:
        """Number of sessions on the server, including those in the workers of a master."""
        return len(self.sessions) + self.remote_sessions

    @property
    def full(self) -> bool:
        """True if the server holds as many leases as ``maxconn`` allows."""
        return 0 < self.maxconn <= self.active

    @property
    def state(self) -> State:
        """The state as one word, for traffic, status pages and logs.

        The stricter of what the operator and the server's agent want comes first. Then health
        decides, to which both checks and agent must agree. A healthy server may still ask to be
        drained.
        """
        admin, agent = self.admin, self.agent
        if admin is _ADMIN_MAINT or agent is _MAINT:
            return _MAINT
        if admin is _ADMIN_DRAIN or agent is _DRAIN:
            return _DRAIN
        well = self.healthy and self.addresses and not self.ejected and agent is not _DOWN
        if not well:
            return _DOWN
        return _DRAIN if self.leaving else _UP

    @property
    def note(self) -> str:
        """The reason for the state, for people; may be empty."""
        if self.agent is not _UP:
            return self.agent_note
        return self.ejected_note if self.ejected else self.health_note

    @property
    def candidate(self) -> bool:
        """True if the server could be picked if it were healthy.

        It has a weight and an address, and is not in drain or maint.
        """
        return (
            self.weight > 0
            and self.admin is _READY
            and (self.agent is _UP or self.agent is _DOWN)
            and not self.leaving
            and bool(self.addresses)
        )

    @property
    def eligible(self) -> bool:
        """True if the server may be picked if its tier is the active one."""
        return self.weight > 0 and self.state is _UP

    @property
    def honours(self) -> bool:
        """True if sticky sessions still go to the server.

        The server is up or drained (weight 0 included), or it is listed in panic mode.
        """
        if self.listed:
            return True
        if not self.healthy or self.ejected or not self.addresses:
            return False
        state = self.state
        return state is _UP or state is _DRAIN

    def __repr__(self) -> str:
        return f"<server {self.backend}/{self.name} {self.state.value} active={self.active}>"
