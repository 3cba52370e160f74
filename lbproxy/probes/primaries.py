"""CONTROL. The servers of a backend that claim to be its primary, and the choice among them.

A former primary may return, or resume, and still consider itself the primary: then two claim it.
The rules:

1. If promotions are numbered (PostgreSQL's timeline), the highest number seen of a cluster wins, as
   long as lbproxy runs. A server with a lower number is a former primary, even while the new one is
   away.
2. A server that the operator has set to maint, or removed, is ignored. This is how to return to a
   former primary.
3. If several servers with the same number claim it, all are accepted. If ``exclusive`` is set,
   none is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary, WeakSet

from attrs import define

from lbproxy.balance.server import AdminState, ServerState
from lbproxy.probes.base import WrongRole

__all__ = ["Primaries"]


@define
class _Claim:
    cluster: str
    epoch: int
    current: bool  # the claim was made in the last check


class Primaries:
    """The claims in one backend. Each probe has one."""

    def __init__(self, *, exclusive: bool = False) -> None:
        self._exclusive = exclusive
        self._claims: WeakKeyDictionary[ServerState, _Claim] = WeakKeyDictionary()
        self._asked: WeakSet[ServerState] = WeakSet()

    def claim(self, server: ServerState, cluster: str = "", epoch: int = 0) -> None:
        """Record that ``server`` claims to be the primary of ``cluster`` since promotion ``epoch``.

        Raises :class:`WrongRole` if the claim is rejected.
        """
        self._asked.discard(server)
        self._claims[server] = _Claim(cluster, epoch, True)
        rivals: list[str] = []
        for other, claim in self._claims.items():
            if other is server or claim.cluster != cluster or other.admin is AdminState.MAINT:
                continue
            if claim.epoch > epoch:
                raise WrongRole(
                    f"an old primary, of timeline {epoch}: {other.name} was promoted to timeline "
                    f"{claim.epoch}"
                )
            if claim.current and claim.epoch == epoch:
                rivals.append(other.name)
        if self._exclusive and rivals:
            raise WrongRole(f"not the only primary: so says {', '.join(sorted(rivals))}")

    @contextmanager
    def asking(self, server: ServerState) -> Iterator[None]:
        """Wrap a check of ``server``: if it ends without a claim, the last claim is withdrawn."""
        self._asked.add(server)
        try:
            yield
        finally:
            claim = self._claims.get(server)
            if server in self._asked and claim is not None:
                claim.current = False
