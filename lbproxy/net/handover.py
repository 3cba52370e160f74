"""DATA. Giving a connection in use to another protocol; used where a preamble or handshake ends."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.protocols.policies import ProtocolWrapper

__all__ = ["hand_over"]


def hand_over(transport: Any, protocol: IProtocol, data: bytes = b"") -> bool:
    """Make ``protocol`` the one ``transport`` talks to: makeConnection, then ``data`` if there is
    any.

    Works on Twisted's and our own transports and on its TLS layer. False: the transport does not
    say which protocol it talks to, so the caller must pass its calls on.
    """
    switched = True
    if isinstance(transport, ProtocolWrapper):
        transport.wrappedProtocol = protocol
    elif hasattr(transport, "protocol"):
        transport.protocol = protocol
    else:
        switched = False
    protocol.makeConnection(transport)
    # a protocol that closes as soon as it is connected expects no more calls
    if data and not getattr(transport, "disconnecting", False):
        protocol.dataReceived(data)
    return switched
