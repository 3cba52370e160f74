"""PURE. The base class of all balancers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import classImplements

from lbproxy.balance.server import ServerState
from lbproxy.compiled import native
from lbproxy.errors import Outcome
from lbproxy.interfaces import Env, IBalancer, NoOptions, PickContext

if TYPE_CHECKING:
    from attrs import AttrsInstance

__all__ = ["Balancer", "Need", "NoOptions"]


class Need(str, Enum):
    """Property of the traffic that a balancer reads.

    A TCP backend provides SOURCE and SNI, an HTTP backend provides all of them.
    """

    SOURCE = "source"
    SNI = "sni"
    REQUEST = "request"


@native(allow_interpreted_subclasses=True)
class Balancer:
    """Base class of balancers.

    Implement :meth:`pick` and select the class with ``balance = file.py:YourClass``.
    ``self.servers`` always has the current servers, for balancers that need no structure of their
    own.
    """

    name: ClassVar[str] = ""
    Options: ClassVar[type[AttrsInstance]] = NoOptions

    def __init__(self, options: Any, env: Env) -> None:
        self.options = options
        self.env = env
        self.servers: Sequence[ServerState] = ()

    @property
    def needs(self) -> frozenset[Need]:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        return frozenset()

    def servers_changed(self, servers: Sequence[ServerState]) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        self.servers = servers

    def pick(self, context: PickContext, avoid: Collection[ServerState]) -> ServerState | None:
        """See :class:`lbproxy.interfaces.IBalancer`."""
        raise NotImplementedError(f"{type(self).__name__}.pick")

    def taken(self, server: ServerState) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""

    def released(self, server: ServerState, outcome: Outcome, seconds: float) -> None:
        """See :class:`lbproxy.interfaces.IBalancer`."""

    def scores(self, context: PickContext) -> list[tuple[ServerState, float, str]]:
        """Return the active connections per unit of weight of each server."""
        return [
            (s, s.active / s.weight, f"{s.active} active, weight {s.weight}") for s in self.servers
        ]


classImplements(Balancer, IBalancer)
