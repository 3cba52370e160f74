"""PURE. The record of a pick, released exactly once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lbproxy.errors import LeaseError, Outcome

if TYPE_CHECKING:
    from lbproxy.balance.server import ServerState

__all__ = ["Lease", "LeaseError"]


class Lease:
    """One unit of a server's capacity, held by one attempt or session.

    Only :meth:`lbproxy.balance.group.ServerGroup.pick` creates leases.
    """

    __slots__ = ("_give_back", "server")

    def __init__(
        self,
        server: ServerState,
        give_back: Callable[[ServerState, Outcome, float], None],
    ) -> None:
        self.server = server
        self._give_back: Callable[[ServerState, Outcome, float], None] | None = give_back

    @property
    def held(self) -> bool:
        """True if the lease has not been released yet."""
        return self._give_back is not None

    def release(self, outcome: Outcome, seconds: float = -1.0) -> None:
        """Return the capacity to the server.

        ``seconds`` as in :meth:`lbproxy.interfaces.IBalancer.released`. Raises :class:`LeaseError`
        on the second call.
        """
        give_back, self._give_back = self._give_back, None
        if give_back is None:
            raise LeaseError(f"lease of {self.server!r} released twice")
        give_back(self.server, outcome, seconds)
