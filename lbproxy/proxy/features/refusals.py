"""DATA. The last refusals of a frontend, for ``lbproxy why``: requests answered with an error page,
and connections and sessions that lbproxy has ended.

Every frontend has this feature.  Traffic that succeeds does no work for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from lbproxy.config.declaration import FrontendDeclaration
from lbproxy.errors import MEANING, Kind, ProxyError
from lbproxy.http.message import text_of
from lbproxy.proxy.feature import Feature, Given

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["KEEP", "Refusals"]

KEEP: Final = 1000
"""Number of requests that a frontend stores."""

_LONGEST: Final = 200


class Refusals(FrontendDeclaration, Feature["Frontend"]):
    """Stored refusals. ``last``: requests. ``ended``: connections and sessions. The oldest first,
    as JSON types.
    """

    name = "refusals"
    keys = ("listen",)

    def __init__(self) -> None:
        self.last: deque[dict[str, Any]] = deque(maxlen=KEEP)
        self.ended: deque[dict[str, Any]] = deque(maxlen=KEEP)

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`."""
        return cls() if old is None else old

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        owner.refusals = self
        owner.turned_away += (self.add_connection,)

    def refit(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self.attach(owner)

    def add(self, record: Any) -> None:
        """Store a finished exchange if lbproxy has answered it with an error page."""
        if record.status < 400 or not MEANING[record.close].status:
            return
        head = record.request
        self.last.append(
            {
                "at": record.started,
                "request_id": record.request_id,
                "frontend": record.frontend_name,
                "route": record.route,
                "backend": record.backend_name,
                "client_ip": record.client_ip,
                "method": text_of(head.method)[:_LONGEST],
                "host": text_of(head.host)[:_LONGEST],
                "path": text_of(head.path)[:_LONGEST],
                "status": record.status,
                "close": record.close.value,
                "detail": record.detail,
                "seconds": round(max(0.0, record.t_total), 6),
            }
        )

    def add_session(self, record: Any) -> None:
        """Store a TCP session that lbproxy has ended, or that found no server."""
        if MEANING[record.close].status:
            self.ended.append(
                {
                    **_connection(record.frontend_name, record.client_ip, record.info),
                    "at": record.started,
                    "request_id": record.request_id,
                    "route": record.route,
                    "backend": record.backend_name,
                    "close": record.close.value,
                    "detail": record.detail,
                    "seconds": round(max(0.0, record.t_total), 6),
                }
            )

    def add_connection(self, info: Any, error: ProxyError) -> None:
        """Store a connection that was refused before its first request."""
        owner = self._owner
        if error.kind is Kind.CLIENT_GONE:
            return
        self.ended.append(
            {
                **_connection(owner.name, info.client_ip, info),
                "at": info.connected + owner.wheel.epoch,
                "close": error.kind.value,
                "detail": error.detail,
                "seconds": round(max(0.0, owner.now() - info.connected), 6),
            }
        )

    def take_records(self) -> list[dict[str, Any]]:
        """See :class:`Feature`."""
        found = [*self.last, *self.ended]
        self.last.clear()
        self.ended.clear()
        return found

    def add_records(self, records: Sequence[dict[str, Any]]) -> None:
        """See :class:`Feature`."""
        for one in records:
            (self.last if one["status"] else self.ended).append(one)


def _connection(frontend: str, client_ip: str, info: Any) -> dict[str, Any]:
    """Return the fields of a refusal without a request."""
    return {
        "request_id": "",
        "frontend": frontend,
        "route": "",
        "backend": "",
        "client_ip": client_ip,
        "method": "",
        "host": info.sni[:_LONGEST],
        "path": "",
        "status": 0,
    }
