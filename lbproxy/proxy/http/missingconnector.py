"""DATA. A stand-in for a connector that cannot be created: attempts fail, lbproxy continues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbproxy.balance.server import ServerState
from lbproxy.errors import Kind, ProxyError
from lbproxy.net.endpoints import Dial
from lbproxy.proxy.guarding import report
from lbproxy.proxy.http.connector import Connector, PendingDial
from lbproxy.proxy.terms import Terms

__all__ = ["MakeConnector", "MissingConnector", "make_connector_for"]

MakeConnector = Callable[[Terms, ServerState], Connector]
"""Creates the connector of a server, which determines the protocol."""


def make_connector_for(make: MakeConnector, terms: Terms, server: ServerState) -> Connector:
    """Return the connector that ``make`` creates, or a :class:`MissingConnector` after an
    exception, which is logged.
    """
    try:
        made: Any = make(terms, server)
        if not isinstance(made, Connector):
            raise TypeError(f"made {type(made).__name__}, wanted Connector")
    except BaseException as error:
        report(make, error)
        return MissingConnector(terms, server)
    return made


class MissingConnector(Connector):
    """A connector that fails every dial."""

    __slots__ = ()

    def open(self, pending: PendingDial) -> Dial:
        """See :class:`Connector`."""
        raise ProxyError(Kind.CONNECT_FAILED, "the server has no connector")
