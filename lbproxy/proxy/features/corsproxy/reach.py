"""DATA. The way to a target: a pooled connection, or look-up, check and dial.

1. Before each connection, every address of the target's name is judged, and only judged addresses
   are dialled. An idle connection in the pool was judged when it was made.
2. The other lbproxy of an exit is configuration and is not judged. It judges the target itself.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.guard import AllowedTarget, Guard, TargetRefused
from lbproxy.proxy.features.corsproxy.exits import Exit
from lbproxy.proxy.features.corsproxy.lookups import NameLookups
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.streams import Connecting
from lbproxy.tls.certificates import CertificateError

__all__ = ["Reach"]


class Reach:
    """Connects a fetch, its ``owner``, through the exit ``way`` to one target at a time.

    It calls ``connected`` or ``connect_failed`` of the owner, which then calls :meth:`forget`.
    ``reused``: the last connection came from the pool.
    """

    def __init__(self, lookups: NameLookups, guard: Guard, way: Exit) -> None:
        self.way = way
        self.reused = False
        self._lookups = lookups
        self._guard = guard
        self._lookup: Deferred[list[str]] | None = None
        self._connector: Connector | None = None

    def begin(self, owner: Connecting, target: AllowedTarget, *, fresh: bool) -> None:
        """Get a connection to ``target``. ``fresh``: do not use the pool."""
        hop = self.way.hop or target
        known = None if fresh else self.way.targets.known(hop)
        connection = None if known is None else known.take(owner)
        if connection is not None:
            self.reused = True
            owner.connected(connection)
        elif hop.literal:
            self._dial(owner, hop, [hop.host])
        else:
            self._lookup = self._lookups.ask(hop.host)
            given = (owner, hop)
            self._lookup.addCallbacks(self._resolved, self._unresolved, given, {}, given, {})

    def forget(self) -> None:
        """Note that the dial has ended."""
        self._connector = None

    def cancel(self, owner: Connecting) -> None:
        """Cancel the look-up or the dial. Has no effect if none is running."""
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.addErrback(lambda failure: None)
            lookup.cancel()
        connector, self._connector = self._connector, None
        if connector is not None:
            connector.cancel(owner)

    def _resolved(self, addresses: list[str], owner: Connecting, hop: AllowedTarget) -> None:
        if self._lookup is not None:
            self._lookup = None
            self._dial(owner, hop, addresses)

    def _unresolved(self, failure: Failure, owner: Connecting, hop: AllowedTarget) -> None:
        if self._lookup is not None:
            self._lookup = None
            _fail(owner, Kind.CONNECT_FAILED, f"{hop.host}: {failure.value}")

    def _dial(self, owner: Connecting, hop: AllowedTarget, addresses: list[str]) -> None:
        if not addresses:
            _fail(owner, Kind.CONNECT_FAILED, f"{hop.host} has no address")
            return
        try:
            judged = addresses if self.way.hop else self._guard.judge(hop, addresses)
            self._connector = self.way.targets.reach(hop, judged)
        except TargetRefused as error:
            _fail(owner, Kind.DENIED, str(error), 403)
        except CertificateError as error:
            _fail(owner, Kind.SERVER_TLS, str(error))
        else:
            self.reused = False
            self._connector.dial(owner)


def _fail(owner: Connecting, kind: Kind, words: str, status: int = 0) -> None:
    owner.connect_failed(ProxyError(kind, words, status))
