"""DATA. The path from an accepted socket to its protocol: admission, PROXY header, TLS,
ClientHello.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory

from lbproxy.config.model import ListenSpec
from lbproxy.errors import Kind, ProxyError
from lbproxy.guard.addresses import AddressSet
from lbproxy.guard.idle import IdleClient
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.preamble import Preamble
from lbproxy.proxy.reception import OtherReception, Reception
from lbproxy.tls.parameters import TLSParameters

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["ProxyFactory"]

_ROOM = 16  # number of connections closed when descriptors run out, before accepting continues


class ProxyFactory(Factory):
    """The protocol factory of one listener of a frontend; each connection gets the frontend of the
    newest generation.

    Any Twisted endpoint can listen with it. ``listen`` and ``tls`` add the steps of lbproxy's own
    listeners before the actual protocol: PROXY headers from trusted peers, TLS termination.
    """

    noisy = False

    reception: ClassVar[type[Reception] | None] = None
    """Creates the result of ``protocol_for`` of the same class in compiled code."""

    def __init__(
        self,
        frontend: Frontend,
        listen: ListenSpec | None = None,
        tls: TLSParameters | None = None,
    ) -> None:
        self.listener = listen.endpoint if listen is not None else ""
        self.tls = tls
        self._trusted = AddressSet(listen.accept_proxy) if listen and listen.accept_proxy else None
        arrive = partial(_Arrival, tls)
        given = (frontend, self.listener, self._trusted, tls is not None, arrive)
        kind = _reception_of(type(self))
        self._reception: Reception = (
            OtherReception(*given, self.protocol_for) if kind is None else kind(*given)
        )

    @property
    def builder(self) -> Reception:
        """The object that an acceptor of lbproxy calls instead of ``buildProtocol``."""
        return self._reception

    @property
    def frontend(self) -> Frontend:
        """The frontend of the newest generation that has accepted a connection."""
        return self._reception.frontend

    @property
    def key_pairs(self) -> tuple[Any, ...]:
        """The certificates that it serves now (:class:`lbproxy.tls.certificates.KeyPair`); none
        without TLS.
        """
        return self.tls.creator.pairs if self.tls is not None else ()

    def protocol_for(self, info: ConnectionInfo) -> IProtocol:
        """Return the actual protocol. Subclasses implement it."""
        raise NotImplementedError

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See :class:`twisted.internet.interfaces.IProtocolFactory`; None refuses the
        connection.
        """
        return self.build_for(getattr(addr, "host", ""), getattr(addr, "port", 0))

    def build_for(self, ip: str, port: int) -> Any:
        """Return the protocol for a client at ``ip`` ("" for a Unix socket), like
        :meth:`buildProtocol`.
        """
        return self._reception.build(ip, port)

    def make_room(self) -> None:
        """Close some idle connections of the process, because no descriptors are left for new
        ones.
        """
        total = self.frontend.limits.total
        for _ in range(_ROOM):
            if not total.make_room():
                return


def _reception_of(factory: type[ProxyFactory]) -> type[Reception] | None:
    """Return the compiled equivalent of ``protocol_for``; None if a subclass overrides that
    method.
    """
    for kind in factory.__mro__:
        if "reception" in vars(kind):
            return factory.reception
        if "protocol_for" in vars(kind):
            return None
    return None


class _Arrival(Preamble):
    """A connection before its actual protocol. It is one of the frontend's clients, so that a stop
    ends it.
    """

    def __init__(
        self,
        tls: TLSParameters | None,
        reception: Reception,
        frontend: Frontend,
        info: ConnectionInfo,
        announced: bool,
        look: bool,
    ) -> None:
        self._reception = reception
        self._frontend = frontend
        super().__init__(
            frontend.dialler,
            info,
            accept_proxy=announced,
            tls=tls,
            look=look,
            timeout=frontend.spec.timeout_handshake,
            ready=self._arrived,
            failed=self._turned_away,
        )
        frontend.clients.add(self)
        self._place = _Place(self, info)
        self._place.excess = frontend.has_too_many(info)
        frontend.limits.idle.add(self._place, True)

    @property
    def info(self) -> ConnectionInfo | None:
        """The data about its client, who may be banned or denied meanwhile; None while a PROXY
        header is pending.
        """
        return self._info if self._header is None else None

    def evict(self, info: ConnectionInfo) -> None:
        """End it to make room for another connection."""
        self._frontend.depart(info)
        self._frontend.counters.evicted += 1
        self._fail(ProxyError(Kind.LIMITED, "sent no request and made room for others"))

    def named(self, info: ConnectionInfo) -> None:
        """See Preamble. A refused client costs no handshake."""
        if self._place.line is not None:  # it must not evict itself
            self._place.line.remove(self._place)
        error = self._frontend.lineage.current.readmit(info)
        if error is not None:
            raise error
        self._place.excess = self._frontend.has_too_many(info)
        self._frontend.limits.idle.add(self._place, True)

    def _arrived(self, info: ConnectionInfo, data: bytes) -> IProtocol:
        self._leave()
        protocol: IProtocol = self._reception.protocol_for(info)
        return protocol

    def _turned_away(self, info: ConnectionInfo, error: ProxyError) -> None:
        self._leave()
        self._frontend.depart(info)
        if error.kind is Kind.HANDSHAKE_EVICTED:
            self._frontend.counters.evicted += 1
        self._frontend.refused(info, error)

    def _leave(self) -> None:
        self._frontend.clients.discard(self)
        if self._place.line is not None:
            self._place.line.remove(self._place)
        self._ready = _decided  # it refers to this object: avoid a cycle for the garbage collector
        self._place._arrival = None

    def shut(self) -> None:
        """Close it, because the frontend stops."""
        self.kill(ProxyError(Kind.SHUTDOWN))

    def kill(self, error: ProxyError) -> None:
        """End it now."""
        self._fail(error)


class _Place(IdleClient):
    """The entry of an arrival among the connections without a request."""

    def __init__(self, arrival: _Arrival, info: ConnectionInfo) -> None:
        super().__init__()
        self._arrival: _Arrival | None = arrival
        self._info = info

    @property
    def address(self) -> str:
        """See :class:`IdleClient`."""
        return self._info.counted_as or ""

    def waits_since(self) -> float:
        """See :class:`IdleClient`."""
        return self._info.connected

    def evict(self, silent: bool) -> None:
        """See :class:`IdleClient`."""
        if self._arrival is not None:
            self._arrival.evict(self._info)


def _decided(info: ConnectionInfo, data: bytes) -> IProtocol:
    """Raise an error, because a preamble ends only once."""
    raise AssertionError("the preamble is over")
