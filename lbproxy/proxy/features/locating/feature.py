"""DATA. The location of clients, for a frontend (``Frontend.geo``).

The files are checked once a minute, and opened again in a thread if they have changed. A new
version that cannot be read is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Self

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.config.declaration import FrontendDeclaration
from lbproxy.proxy.feature import Feature, Given
from lbproxy.proxy.features.locating.table import GeoTable
from lbproxy.proxy.ratelog import Quiet

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["Locating"]

_EVERY: Final = 60.0  # seconds between checks
_quiet: Final = Quiet(Logger())


class Locating(FrontendDeclaration, Feature["Frontend"]):
    """See the module."""

    name = "geoip"
    keys = ("listen",)

    def __init__(self, table: GeoTable, given: Given) -> None:
        self._table = table
        self._reactor = given.env.reactor
        self._timer = given.network.wheel.timer(self._look)

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`. Raises ValueError for files that are missing or unreadable."""
        files = given.config.settings.geoip
        if not files:
            for verb, args, _ in _conditions(spec, given.config):
                if verb == "client" and any(arg.startswith(("country:", "asn:")) for arg in args):
                    raise ValueError("the condition client country: or asn: needs [lbproxy] geoip")
            return None
        if old is not None and old._table.files == tuple(files):
            return old
        return cls(given.keep("geoip", "\n".join(files), lambda: GeoTable(files)), given)

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        owner.geo = self._table

    def refit(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        owner.geo = self._table

    def start(self) -> None:
        """See :class:`Feature`."""
        self._timer.set(_EVERY)

    def close(self) -> None:
        """See :class:`Feature`."""
        self._timer.clear()

    def _look(self) -> None:
        """Open the files again if one has changed."""
        self._timer.set(_EVERY)
        try:
            if not self._table.changed:
                return
        except OSError as error:
            self._failed(Failure(error))
            return
        table, reactor = self._table, self._reactor
        done = deferToThreadPool(reactor, reactor.getThreadPool(), table.opened)
        done.addCallback(table.use)
        done.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        _quiet.warn(
            "geoip", "{error}; the last good version stays in use", error=str(failure.value)
        )


def _conditions(spec: Any, config: Any) -> Iterator[Any]:
    """Yield the conditions of a frontend, and those of the filters of all backends."""
    behind = [one for backend in config.backends for one in backend.filters]
    for one in (*spec.routes, *spec.filters, *spec.limits, *spec.tracks, *behind):
        yield from one.conditions
