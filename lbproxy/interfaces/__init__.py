"""PURE. The extension points as zope Interfaces, with contract, cost and errors.

:mod:`lbproxy.registry` finds implementations by name, as ``path/to/file.py:Name`` or as
``package.module:Name``. An implementation is a **class** with three class attributes:

``name``
    the word used in the configuration;
``Options``
    a frozen attrs class (see :func:`lbproxy.model.option`). The words after the name are parsed
    into it, so mistakes are reported with file and line, and the options appear in the reference;
``__init__(options, env)``
    ``env`` is an :class:`Env`.

Extensions subclass :class:`lbproxy.balance.base.Balancer`, :class:`lbproxy.http.filter.Filter` and
:class:`lbproxy.probes.base.Probe`, which implement these interfaces.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from attrs import frozen
from zope.interface import Attribute, Interface

from lbproxy.interfaces.traffic import (
    AnyTraffic,
    ClientConnection,
    ClientTLS,
    FilterTraffic,
    HookResult,
    HTTPFilterTraffic,
    TCPFilterTraffic,
)

if TYPE_CHECKING:
    from attrs import AttrsInstance

    from lbproxy.balance.server import ServerState
    from lbproxy.errors import Outcome, ProxyError
    from lbproxy.health.state import Result
    from lbproxy.http.message import RequestHead

__all__ = [
    "AnyTraffic",
    "ClientConnection",
    "ClientTLS",
    "Env",
    "FilterTraffic",
    "HTTPFilterTraffic",
    "HookResult",
    "IBalancer",
    "IFilter",
    "IProbe",
    "NoOptions",
    "PickContext",
    "Plugin",
    "TCPFilterTraffic",
]


@frozen
class NoOptions:
    """The options of an extension that takes no words after its name."""


@frozen
class Env:
    """The environment of an extension. Tests create their own.

    - ``now``: the monotonic clock in seconds.
    - ``random``: the only source of random numbers.
    - ``name``: the backend or frontend that the extension serves, for logs.
    - ``reactor``: for CONTROL extensions only; None in pure ones and in ``lbproxy explain``. It is
      Any, because Twisted describes a reactor by several interfaces; annotate the one you use.
    - ``secret``: key for signing data that clients store: that of ``[lbproxy]``, or random bytes
      that last as long as the process.
    """

    now: Callable[[], float]
    random: Random
    name: str = ""
    reactor: Any = None
    secret: bytes = b""


class Plugin(Protocol):
    """The attributes of every extension class (see the module's docstring).

    ``Options`` is any attrs class, and ``options`` of ``__init__`` an object of it.
    """

    name: ClassVar[str]
    Options: ClassVar[type[AttrsInstance]]


class PickContext(Protocol):
    """The connection or request for which a server is picked.

    ``client_ip``: address without port, "" for a Unix socket. ``request``: None for raw TCP.
    ``sni``: lower-case server name, "" if none.
    """

    @property
    def client_ip(self) -> str: ...
    @property
    def sni(self) -> str: ...
    @property
    def request(self) -> RequestHead | None: ...


class IBalancer(Interface):
    """Picks one of the eligible servers. The backend notifies it of changes; it never polls.

    All methods run synchronously on the data path. ``pick``, ``taken`` and ``released`` must be
    O(1) or O(log n). An exception in ``pick`` is counted and logged, and the first eligible server
    is used.
    """

    needs = Attribute(
        "frozenset of Need: what a pick reads; a backend that cannot give it is refused at load"
    )

    def servers_changed(servers: Sequence[ServerState]) -> None:
        """Replace the eligible servers: up, weight above 0, one priority tier, in the order of the
        configuration.

        Also called when only a weight changed, or when a new ``maxconn`` made a server full or no
        longer full. The list may be empty, and ``active`` may have any value. O(n) is acceptable.
        """

    def pick(context: PickContext, avoid: Collection[ServerState]) -> ServerState | None:
        """Return a server that is neither in ``avoid`` nor ``full``, or None without one.

        ``avoid`` is small: the servers that this request has already tried.
        """

    def taken(server: ServerState) -> None:
        """Handle one more lease of ``server``, which ``server.active`` already includes.

        The server may be one that is not eligible.
        """

    def released(server: ServerState, outcome: Outcome, seconds: float) -> None:
        """Handle the end of a lease, which ``server.active`` no longer includes.

        ``seconds``: time to the first response byte for HTTP, connect time for TCP; negative if it
        never came. The server may have been removed.
        """

    def scores(context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Return every eligible server with a score (lower is better) and an explanation, for
        ``lbproxy explain``. O(n).
        """


class IFilter(Interface):
    """A hook in the TCP or HTTP path.

    Every phase is optional, and a phase that no filter overrides costs nothing.

    The argument is a :class:`HTTPFilterTraffic` or a :class:`TCPFilterTraffic`. A method may be
    ``async`` or return a Deferred; the traffic waits for at most the frontend's ``timeout_filter``.
    Returning a :class:`lbproxy.http.message.Reply` from an HTTP phase before ``response`` answers
    the client. Raising :class:`lbproxy.errors.ProxyError` refuses it. Any other exception is
    counted and logged, and fails the request unless the filter sets ``fail_open``.
    """

    modes = Attribute("frozenset of 'tcp' and 'http': where it may be used")
    fail_open = Attribute("bool: carry on when the hook raises or is too slow")
    always = Attribute(
        "bool: phase response also runs for replies and error pages of lbproxy's own"
    )

    def early(traffic: AnyTraffic) -> HookResult:
        """Called as soon as the client is known: request head read (HTTP), connection accepted
        (TCP). No route is selected yet.
        """

    def request(traffic: AnyTraffic) -> HookResult:
        """Called when the route is known and no server is picked.

        May change the request (HTTP), or set ``traffic.backend_name`` to choose another backend.
        """

    def server_request(traffic: AnyTraffic) -> HookResult:
        """Called for every attempt when its server is picked, before the request is sent (HTTP) or
        the server is dialled (TCP).
        """

    def response(traffic: AnyTraffic) -> HookResult:
        """Called with the final response head (HTTP), or when the server is connected (TCP).

        May change ``traffic.response``, or return a Reply that replaces it.
        """

    def failed(traffic: AnyTraffic, error: ProxyError) -> HookResult:
        """Called when the exchange has failed before any part of a response was sent.

        HTTP only. May return a Reply instead of the error page, or set ``traffic.backend_name`` to
        let another backend answer, once, if the request body is complete or still kept.
        """

    def finish(traffic: AnyTraffic) -> None:
        """Called after the end, including counters and log. Must not wait."""


class IProbe(Interface):
    """One kind of active health check."""

    def check(target: Any) -> Awaitable[Result]:
        """Check one server once. The awaitable is a coroutine or a Deferred.

        ``target`` is a :class:`lbproxy.probes.base.ProbeTarget`. It is Any here, because that class
        names the network, which interfaces do not import; ``Probe.check`` has the type. Checks of
        one server never overlap. The caller cancels the check after ``target.timeout`` seconds, and
        the probe must then close what it opened. An exception counts as a failed check, with its
        text as the note.
        """
