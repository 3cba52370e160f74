"""DATA. Hand-over of a connection to another protocol, at the end of a preamble or handshake."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.protocols.policies import ProtocolWrapper

__all__ = ["hand_over"]


def hand_over(transport: Any, protocol: IProtocol, data: bytes = b"") -> bool:
    """Make ``protocol`` the protocol of ``transport``: call makeConnection, then pass ``data`` if
    not empty.

    Works on Twisted's and lbproxy's transports and on the TLS layers of both. Return False if the
    transport does not expose its protocol, so that the caller must pass calls on.
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
