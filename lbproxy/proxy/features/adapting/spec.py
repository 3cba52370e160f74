"""DATA. The keys of ``adaptive_concurrency``."""

from __future__ import annotations

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.model import option

__all__ = ["AdaptiveDeclaration", "AdaptiveKeys"]


@frozen
class AdaptiveKeys:
    """The keys of backends."""

    adaptive_concurrency: bool = option(
        "bool",
        False,
        http_only=True,
        doc="limit the requests at once by the response time of the servers, and refuse others with"
        " 503, by ``priority``",
    )
    adaptive_tolerance: float = option(
        "times",
        1.5,
        min=1,
        max=100,
        http_only=True,
        doc="the response time that is accepted, as a multiple of the one without load",
        example="2x",
    )
    adaptive_min: int = option(
        "int",
        5,
        min=1,
        max=100_000,
        http_only=True,
        workers="split",
        doc="lower bound of the limit",
    )
    adaptive_max: int = option(
        "int",
        1000,
        min=1,
        max=1_000_000,
        http_only=True,
        workers="split",
        doc="upper bound of the limit",
    )


class AdaptiveDeclaration(Declaration):
    """See :class:`Declaration`."""

    Keys = AdaptiveKeys
