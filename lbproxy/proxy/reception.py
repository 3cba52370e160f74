"""DATA. Admits an accepted connection and creates its protocol: the compiled half of a factory.

:class:`lbproxy.proxy.accept.ProxyFactory` has one for each listener.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lbproxy.guard.addresses import AddressSet
from lbproxy.net.builder import ProtocolBuilder
from lbproxy.proxy.info import ConnectionInfo, plain_ip

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["OtherReception", "Reception"]


class Reception(ProtocolBuilder):
    """Builds the protocols of one listener of ``frontend``, or of its successors after a reload.

    ``trusted``: peers that announce clients in a PROXY header; None without any. ``tls``: whether
    TLS is terminated. ``arrive(reception, frontend, info, announced, look)`` returns the protocol
    for what precedes the protocol proper.
    """

    __slots__ = ("_arrive", "_listener", "_tls", "_trusted", "frontend")

    def __init__(
        self,
        frontend: Frontend,
        listener: str,
        trusted: AddressSet | None,
        tls: bool,
        arrive: Callable[[Any, Any, ConnectionInfo, bool, bool], Any],
    ) -> None:
        self.frontend = frontend
        self._listener = listener
        self._trusted = trusted
        self._tls = tls
        self._arrive = arrive

    def build(self, ip: str, port: int) -> Any:
        """See :class:`ProtocolBuilder`."""
        self.frontend = frontend = self.frontend.lineage.current  # older frontends may be freed
        trusted = self._trusted
        announced = trusted is not None and (not ip or plain_ip(ip) in trusted)
        info = frontend.welcome(ip, port, self._listener, announced)
        if info is None:
            bans = frontend.ban_judge
            return None if bans is None else bans.closing_protocol(plain_ip(ip), announced)
        look = frontend.looks_at_hello and not self._tls
        if announced or look or self._tls:
            return self._arrive(self, frontend, info, announced, look)
        return self.protocol_for(info)

    def protocol_for(self, info: ConnectionInfo) -> Any:
        """Return the actual protocol of an admitted connection."""
        raise NotImplementedError


class OtherReception(Reception):
    """For a factory with its own ``protocol_for``, passed as ``make``."""

    __slots__ = ("_make",)

    def __init__(
        self,
        frontend: Frontend,
        listener: str,
        trusted: AddressSet | None,
        tls: bool,
        arrive: Callable[[Any, Any, ConnectionInfo, bool, bool], Any],
        make: Callable[[ConnectionInfo], Any],
    ) -> None:
        super().__init__(frontend, listener, trusted, tls, arrive)
        self._make = make

    def protocol_for(self, info: ConnectionInfo) -> Any:
        """See :class:`Reception`."""
        return self._make(info)
