"""DATA. States of a fetch, and the interfaces of its clients and of its spooling."""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol

from lbproxy.cache.memory import Entry
from lbproxy.cache.stored import Stored
from lbproxy.cache.storing import Refusal
from lbproxy.errors import ProxyError
from lbproxy.http.message import Reply, ResponseHead

__all__ = ["BETTER", "DISK", "NO_ROOM", "PURGED", "TOO_FEW", "TOO_LARGE", "FetchState",
           "Spooling", "Waiting"]  # fmt: skip


class FetchState(Enum):
    """See :mod:`lbproxy.proxy.features.caching.fetch`."""

    ASKING = 0
    KEEPING = 1
    PASSING = 2
    OVER = 3


class Waiting(Protocol):
    """A client that gets the response: :class:`lbproxy.proxy.features.caching.reader.Reader`.

    ``position``: number of chunks that it has taken. ``behind``: number of chunks that it has not.
    """

    @property
    def position(self) -> int: ...
    @property
    def behind(self) -> int: ...

    def interim(self, head: ResponseHead) -> None:
        """Take an interim head."""

    def deliver(self) -> None:
        """Take the data received so far."""

    def revalidated(self, entry: Entry, stored: Stored, status: int, shared: bool) -> None:
        """Answer with a stored response that the server has validated.

        ``shared``: it is stored again; otherwise only the client that caused the fetch gets it.
        """

    def stale(self, entry: Entry, why: str) -> None:
        """Answer with a stored response, because the server failed."""

    def again(self) -> None:
        """Send the request to a server, because the fetch is over."""

    def anew(self) -> None:
        """Fetch the response anew, together: the stored one was outdated."""

    def failed(self, error: ProxyError) -> None:
        """The fetch has failed, possibly in the middle of the response."""

    def refused(self, error: ProxyError) -> None:
        """The fetch has failed before a server received the request."""

    def replied(self, reply: Reply) -> None:
        """A filter has replied."""


class Spooling(Protocol):
    """A fetch whose body is written to a file."""

    def spool_begins(self) -> None:
        """The body is large."""

    def spool_wrote(self) -> None:
        """A part of the body is in the file."""

    def spool_failed(self) -> None:
        """The disk has failed or is full."""


TOO_LARGE: Final = Refusal("larger than max_object", "policy")
NO_ROOM: Final = Refusal("no room beside bodies that are received or sent", "memory")
BETTER: Final = Refusal("an error, and the stored response may still be used", "grace")
TOO_FEW: Final = Refusal("fewer uses than min_uses", "policy")
DISK: Final = Refusal("the disk failed or is full", "disk")
PURGED: Final = Refusal("purged while it was fetched", "purge")
