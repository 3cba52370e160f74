"""DATA. What a caller holds of a connection that is being made."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

__all__ = ["Dial"]


class Dial(Protocol):
    """A connection attempt in progress."""

    @abstractmethod
    def cancel(self) -> None:
        """Give up: neither the protocol nor ``failed`` is called afterwards. Has no effect once the
        attempt has ended.
        """
