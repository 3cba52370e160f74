"""DATA. What a lineage refers to weakly in place of a frontend, which compiled cannot be referred to so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["Member"]


class Member:
    """Kept by its ``frontend`` alone: the two go together, when the garbage collector finds them."""

    __slots__ = ("__weakref__", "frontend")

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend
