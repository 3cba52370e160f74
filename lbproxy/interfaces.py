"""Every extension point as a zope Interface: its contract, its cost, its errors.

Implementations are found by :mod:`lbproxy.registry` under a name, as ``path/to/file.py:Name`` or as
``package.module:Name``.  What is looked up is always a **class** with three class attributes:

``name``
    the word used in the configuration;
``Options``
    a frozen attrs class (see :func:`lbproxy.model.option`) that the words after the name are
    parsed into, so that mistakes carry file and line and the options appear in the reference;
``__init__(options, env)``
    ``env`` is an :class:`Env`.

The base classes :class:`lbproxy.balance.base.Balancer`, :class:`lbproxy.http.filter.Filter` and
:class:`lbproxy.probes.base.Probe` implement these and are what extensions subclass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from attrs import frozen
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from lbproxy.balance.server import ServerState
    from lbproxy.errors import Kind, Outcome, ProxyError
    from lbproxy.http.message import RequestHead, ResponseHead
    from lbproxy.http.transform import Transform

__all__ = [
    "AnyTraffic",
    "Env",
    "FilterTraffic",
    "HTTPFilterTraffic",
    "IBalancer",
    "IFilter",
    "IProbe",
    "PickContext",
    "Plugin",
    "TCPFilterTraffic",
]


@frozen
class Env:
    """What an extension gets from its surroundings; tests pass their own.

    ``now``: seconds of the monotonic clock.  ``random``: the only source of chance. ``name``: the
    backend or frontend it serves, for logs.  ``reactor``: for CONTROL extensions only; None in pure
    ones and in ``lbproxy explain``.  ``secret``: for signing what clients keep for us; that of
    ``[lbproxy]``, or random bytes that last as long as the process."""

    now: Callable[[], float]
    random: Random
    name: str = ""
    reactor: Any = None
    secret: bytes = b""


class Plugin(Protocol):
    """The shape of every extension class (see the module's docstring)."""

    name: ClassVar[str]
    Options: ClassVar[type[Any]]


class PickContext(Protocol):
    """What is known about the connection or request a server is picked for.

    ``client_ip``: textual address without port, "" for a Unix socket.
    ``request``: None for raw TCP.  ``sni``: lower-case server name, "" if none.
    """

    @property
    def client_ip(self) -> str: ...
    @property
    def sni(self) -> str: ...
    @property
    def request(self) -> RequestHead | None: ...


class FilterTraffic(Protocol):
    """The argument of every method of a filter: one HTTP request, or one TCP connection.

    Filters may set ``backend_name`` in phase ``request`` to choose another backend, and ``priority`` (the class in its
    queue, lower ones first).  ``vars`` is None until a filter puts a dict there: its notes from phase to phase.
    ``server`` (``server_name``) is that of the present attempt, or of the last one; ``tried`` are those whose attempts
    failed, and ``attempts`` counts all.
    ``info`` describes the client's connection (``peer_ip``, ``local_port``, ``tls`` ...).  ``close`` says in phase
    ``finish`` how it ended.  Times (``t_queue``, ``t_connect``, ``t_total``) are seconds, negative where nothing was
    measured.
    """

    backend_name: str
    priority: int
    vars: dict[str, Any] | None

    @property
    def client_ip(self) -> str: ...
    @property
    def client_port(self) -> int: ...
    @property
    def frontend_name(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def server_name(self) -> str: ...
    @property
    def server(self) -> ServerState | None: ...
    @property
    def tried(self) -> Sequence[ServerState]: ...
    @property
    def sni(self) -> str: ...
    @property
    def alpn(self) -> tuple[str, ...]: ...
    @property
    def info(self) -> Any: ...
    @property
    def request_id(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def close(self) -> Kind: ...
    @property
    def t_queue(self) -> float: ...
    @property
    def t_connect(self) -> float: ...
    @property
    def t_total(self) -> float: ...


class HTTPFilterTraffic(FilterTraffic, Protocol):
    """One HTTP request and its response, in every phase.

    ``request``: as the client sent it; changes in phases ``early`` and ``request`` count for routes and servers.
    ``server_request``: as the server of this attempt gets it, from phase ``server_request`` on.  ``response``: from
    phase ``response`` on.  ``scheme``: ``http`` or ``https``.  ``status``: what the client got, 0 for nothing yet.
    ``source`` of the response: ``server``, ``reply`` (of a filter or route) or ``error`` (a page).
    """

    @property
    def request(self) -> RequestHead: ...
    @property
    def server_request(self) -> RequestHead | None: ...
    @property
    def response(self) -> ResponseHead | None: ...
    @property
    def scheme(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def reused(self) -> bool: ...
    @property
    def t_header(self) -> float: ...
    @property
    def t_response(self) -> float: ...

    def kept_body(self) -> bytes | None:
        """The whole request body; None if it is not complete or no longer kept.  In phase ``response``."""

    def transform_request(self, transform: Transform) -> None:
        """Send the request body through ``transform``, in this attempt.  In phase ``server_request``."""

    def transform_response(self, transform: Transform) -> None:
        """Send the body of the response through ``transform``.  In phase ``response``."""


class TCPFilterTraffic(FilterTraffic, Protocol):
    """One TCP connection, in every phase."""


class AnyTraffic(HTTPFilterTraffic, TCPFilterTraffic, Protocol):
    """What the methods of the class :class:`lbproxy.http.filter.Filter` take.

    A filter annotates its own with the traffic that it works for: ``HTTPFilterTraffic``, ``TCPFilterTraffic``, or
    ``FilterTraffic`` for both.
    """


class IBalancer(Interface):
    """Chooses one of the eligible servers.  Told about changes, never polls.

    All methods run on the data path, synchronously; ``pick``, ``taken`` and ``released`` must
    be O(1) or
    O(log n).  An exception in ``pick`` is counted and logged, and the first eligible server is
    used.
    """

    needs = Attribute(
        "frozenset of Need: what a pick reads; a backend that cannot give it is refused at load"
    )

    def servers_changed(servers: Sequence[ServerState]) -> None:
        """The eligible servers are now exactly these (up, weight > 0, one priority tier,
        config order).

        Also called when only a weight changed, or when a new ``maxconn`` made a server full or no
        longer full.  May be empty; ``active`` may be anything.  O(n) is fine here."""

    def pick(context: PickContext, avoid: Collection[ServerState]) -> ServerState | None:
        """A server not in ``avoid`` and not ``full``, or None when there is none.

        ``avoid`` is small: the servers this request has already tried."""

    def taken(server: ServerState) -> None:
        """``server`` got one more lease; ``server.active`` already counts it.  May name a
        server that is not eligible."""

    def released(server: ServerState, outcome: Outcome, seconds: float) -> None:
        """A lease ended; ``server.active`` no longer counts it.  ``seconds``: time to the
        first response
        byte for HTTP, connect time for TCP; negative if it never came.  May name a server
        that is gone."""

    def scores(context: PickContext) -> list[tuple[ServerState, float, str]]:
        """For ``lbproxy explain``: every eligible server with a score (lower is better) and
        its meaning in words.  O(n)."""


class IFilter(Interface):
    """A hook in the TCP or HTTP path; every phase is optional and a phase nobody overrides
    costs nothing.

    The argument is a :class:`HTTPFilterTraffic` or a :class:`TCPFilterTraffic`.  A method may be ``async`` or return a
    Deferred; the traffic waits, for at most the frontend's ``timeout_filter``.  Returning a
    :class:`lbproxy.http.message.Reply` from an HTTP phase before ``response`` answers the client; raising
    :class:`lbproxy.errors.ProxyError` refuses it; any other exception is counted, logged, and fails the request unless
    the filter sets ``fail_open``.
    """

    modes = Attribute("frozenset of 'tcp' and 'http': where it may be used")
    fail_open = Attribute("bool: carry on when the hook raises or is too slow")
    always = Attribute(
        "bool: phase response also runs for replies and error pages of lbproxy's own"
    )

    def early(traffic: AnyTraffic) -> Any:
        """As soon as the client is known: request head read (HTTP), connection accepted
        (TCP); no route yet."""

    def request(traffic: AnyTraffic) -> Any:
        """The route is known, no server picked.  May change the request (HTTP), or set
        ``traffic.backend_name`` to choose another backend."""

    def server_request(traffic: AnyTraffic) -> Any:
        """A server is picked; called for every attempt, before its request is sent (HTTP)
        or it is dialled (TCP)."""

    def response(traffic: AnyTraffic) -> Any:
        """The final response head is here (HTTP), or the server is connected (TCP).  May
        change ``traffic.response``;
        may return a Reply to answer in its place.  Runs for what servers answer; for replies of
        filters and routes and for error pages only if the filter sets ``always``."""

    def failed(traffic: AnyTraffic, error: ProxyError) -> Any:
        """The exchange has failed, and the client has seen nothing of a response.

        HTTP only.  May return a Reply in place of the error page, or set ``traffic.backend_name``
        to let another backend answer, once, if the request body is complete or still kept."""

    def finish(traffic: AnyTraffic) -> None:
        """Everything is over, counters and log included; never waits."""


class IProbe(Interface):
    """One kind of active health check."""

    def check(target: Any) -> Any:
        """Check one server once: a coroutine or Deferred of a :class:`lbproxy.health.state.Result`.

        ``target`` is a :class:`lbproxy.probes.base.ProbeTarget`.  Called again only when the last
        check of the same server is over.  The caller cancels it after ``target.timeout`` seconds;
        what it opened must then be closed.  An exception counts as a failed check, its text as the
        note."""
