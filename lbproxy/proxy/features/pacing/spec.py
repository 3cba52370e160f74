"""DATA. The keys of the feature ``pacing``."""

from __future__ import annotations

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.model import option

__all__ = ["PacingDeclaration", "PacingKeys"]


@frozen
class PacingKeys:
    """The keys of frontends."""

    min_body_rate: float = option(
        "byte_rate",
        0.0,
        min=0,
        max=1 << 40,
        http_only=True,
        doc="refuse requests whose body comes more slowly, in the mean over 5 seconds, with 408;"
        " 0: at any rate within ``timeout_body``",
        example="500/s",
    )
    min_read_rate: float = option(
        "byte_rate",
        0.0,
        min=0,
        max=1 << 40,
        doc="close connections of clients that read what waits for them more slowly, in the mean"
        " over 5 seconds; 0: at any rate within ``timeout_client``",
        example="500/s",
    )


class PacingDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "frontend"
    Keys = PacingKeys
