"""DATA. The handle of a connection attempt."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from lbproxy.model import Address

__all__ = ["Dial"]


class Dial(Protocol):
    """A connection attempt in progress.

    ``address``: the address that is tried, and later that of the connection.
    """

    @property
    def address(self) -> Address | None: ...

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the attempt: neither the protocol nor ``failed`` is called afterwards. Has no
        effect once the attempt has ended.
        """
