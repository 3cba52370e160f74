"""DATA. The key ``shed``, and the option of routes."""

from __future__ import annotations

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.model import option
from lbproxy.limits.rules import ShedLimits

__all__ = ["ShedDeclaration", "ShedKeys"]


@frozen
class ShedKeys:
    """The key of frontends."""

    shed: ShedLimits | None = option(
        "line:shed",
        None,
        doc="refuse a share of the traffic with 503 while the process is later than this, uses"
        " more memory, or the queue of the backend is fuller",
        example="lag 50ms, memory 90%, queue 50%",
    )


@frozen
class ShedRouteKeys:
    """The option of routes."""

    shed: bool = option("bool", True, doc="``no``: never refuse this traffic to shed load")


class ShedDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "frontend"
    Keys = ShedKeys
    RouteKeys = ShedRouteKeys
