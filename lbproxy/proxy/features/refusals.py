"""DATA. The last requests of a frontend that were answered with an error page, for ``lbproxy why``.

Every frontend has this feature.  A request that succeeds does no work for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from lbproxy.config.declaration import FrontendDeclaration
from lbproxy.errors import MEANING
from lbproxy.http.message import text_of
from lbproxy.proxy.feature import Feature, Given

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["KEEP", "Refusals"]

KEEP: Final = 1000
"""Requests that a frontend remembers."""

_LONGEST: Final = 200


class Refusals(FrontendDeclaration, Feature["Frontend"]):
    """``last``: the oldest first, as JSON types."""

    name = "refusals"
    keys = ("listen",)

    def __init__(self) -> None:
        self.last: deque[dict[str, Any]] = deque(maxlen=KEEP)

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`."""
        if spec.mode == "tcp":
            return None
        return cls() if old is None else old

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        owner.refusals = self

    def refit(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        owner.refusals = self

    def add(self, record: Any) -> None:
        """Remember a finished exchange if lbproxy has answered it with an error page."""
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

    def take_records(self) -> list[dict[str, Any]]:
        """See :class:`Feature`."""
        found = list(self.last)
        self.last.clear()
        return found

    def add_records(self, records: Sequence[dict[str, Any]]) -> None:
        """See :class:`Feature`."""
        self.last.extend(records)
