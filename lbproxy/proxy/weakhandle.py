"""DATA. A weakly referable representative of a frontend, whose compiled class does not support weak
references.
"""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["WeakHandle"]

HeldT = TypeVar("HeldT")


class WeakHandle(Generic[HeldT]):
    """Kept by its ``frontend`` alone: the garbage collector frees the two together."""

    __slots__ = ("__weakref__", "frontend")

    def __init__(self, frontend: HeldT) -> None:
        self.frontend = frontend
