"""DATA. The handle of a connection that is being made."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from lbproxy.model import Address

__all__ = ["Dial"]


class Dial(Protocol):
    """A connection attempt in progress.

    ``address``: the one being tried, and the connection's once it is made.
    """

    @property
    def address(self) -> Address | None: ...

    @abstractmethod
    def cancel(self) -> None:
        """Give up: neither the protocol nor ``failed`` is called afterwards. Has no effect once the
        attempt has ended.
        """
