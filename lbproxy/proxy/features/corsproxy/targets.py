"""DATA. The connections of a CORS proxy to its targets, pooled by origin."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from lbproxy.balance.live import LiveServer
from lbproxy.guard import AllowedTarget
from lbproxy.model import Address, BackendSpec, ServerSpec, Target
from lbproxy.net.endpoints import Dialler
from lbproxy.proxy.http.connector import Connector
from lbproxy.proxy.http.h1connector import H1Connector
from lbproxy.proxy.terms import Terms
from lbproxy.tls.clientcontext import ClientContextFactory
from lbproxy.tls.parameters import TLSParameters

__all__ = ["Targets"]

ORIGINS_MAX: Final = 256
"""Maximum number of origins with kept connections; the least recently used one is closed."""

_POOL_SIZE: Final = 8  # maximum number of idle connections of one origin
_POOL_IDLE_S: Final = 15.0
_CONNECT_S: Final = 5.0


@frozen
class _Origin:
    secure: bool
    host: str
    port: int


class Targets:
    """The connectors of one CORS proxy. ``ca``: see the key ``target_ca``.

    Raises CertificateError if the authorities cannot be read.
    """

    def __init__(self, name: str, dialler: Dialler, ca: str, timeout: float) -> None:
        spec = BackendSpec(
            name=name,
            pool_size=_POOL_SIZE,
            pool_idle=_POOL_IDLE_S,
            reuse="always",
            timeout_connect=min(_CONNECT_S, timeout),
            timeout_response=timeout,
            timeout_server=timeout,
        )
        self._name = name
        # no target has this name; each target has contexts for its own name
        self._contexts = ClientContextFactory("cors.invalid", ca=ca, alpn=("http/1.1",))
        self._terms = Terms(dialler, spec)
        self._connectors: OrderedDict[_Origin, Connector] = OrderedDict()

    def known(self, target: AllowedTarget) -> Connector | None:
        """Return the connector of an origin if it has an idle connection, else None."""
        origin = _origin(target)
        found = self._connectors.get(origin)
        if found is None or not found.idle:
            return None
        self._connectors.move_to_end(origin)
        return found

    def reach(self, target: AllowedTarget, addresses: Sequence[str]) -> Connector:
        """Return the connector that dials exactly ``addresses``, which have been judged.

        Raises CertificateError for a name that no certificate can have.
        """
        origin = _origin(target)
        found = self._connectors.get(origin)
        if found is None:
            found = self._connectors[origin] = self._made(target)
            if len(self._connectors) > ORIGINS_MAX:
                self._connectors.popitem(last=False)[1].close()
        self._connectors.move_to_end(origin)
        found.server.addresses = tuple(_address(one, target.port) for one in addresses)
        return found

    def _made(self, target: AllowedTarget) -> Connector:
        address = _address(target.host, target.port)
        spec = ServerSpec("target", Target.of(address), tls=target.secure, sni=target.host)
        server = LiveServer.from_spec(self._name, spec)
        server.listed = True  # its connections may be reused
        if target.secure:
            server.tls = TLSParameters(self._contexts.for_host(target.host), server_side=False)
        return H1Connector(self._terms, server)

    def close(self) -> None:
        """Close idle connections; running exchanges finish."""
        for connector in self._connectors.values():
            connector.close()
        self._connectors.clear()


def _origin(target: AllowedTarget) -> _Origin:
    return _Origin(target.secure, target.host, target.port)


def _address(host: str, port: int) -> Address:
    return Address("tcp", host, port)
