"""PURE. Clean end of MQTT 5.0 sessions: DISCONNECT with reason 0x9C (use another server) between
two packets.

Older versions have no such message: their sessions are never at a safe point. Unacknowledged
messages of QoS 1 and 2 are sent again by either side when the client reconnects, as after any loss
of a connection (§4.4). The server gets a DISCONNECT with reason 0, so that it does not publish the
client's Will.
"""

from __future__ import annotations

from lbproxy.sessionclose.base import Frames, SessionClose

__all__ = ["MQTTClose"]

_CONNECT, _CONNACK, _DISCONNECT = 1, 2, 14
_MQTT5 = b"\x00\x04MQTT\x05"
_USE_ANOTHER_SERVER = b"\xe0\x02\x9c\x00"
_NORMAL = b"\xe0\x00"


def _length(header: bytes) -> int:
    """Return the length in a type and a Variable Byte Integer of at most four bytes (§2.1.4)."""
    if header[0] < 0x10:
        raise ValueError("reserved packet type")
    if len(header) < 2 or header[-1] & 0x80:
        if len(header) >= 5:
            raise ValueError("length of more than four bytes")
        return -1
    size = 0
    for place, byte in enumerate(header[1:]):
        size |= (byte & 0x7F) << 7 * place
    return size


class MQTTClose(SessionClose):
    """Ends a session between packets, once the server has accepted a client of version 5."""

    name = "mqtt"

    def __init__(self) -> None:
        self._asked = self._accepted = self._leaving = False
        self._client = Frames(_length, self._client_packet, keep=len(_MQTT5))
        self._server = Frames(_length, self._server_packet, keep=2)
        self.from_client = self._client.feed  # type: ignore[method-assign]
        self.from_server = self._server.feed  # type: ignore[method-assign]

    def _client_packet(self, header: bytes, body: bytes) -> None:
        kind = header[0] >> 4
        if (kind == _CONNECT) is self._asked or (kind == _CONNECT and body != _MQTT5):
            raise ValueError("not MQTT 5")
        self._asked = True
        self._leaving |= kind == _DISCONNECT

    def _server_packet(self, header: bytes, body: bytes) -> None:
        kind = header[0] >> 4
        if kind == _CONNACK:
            if len(body) < 2 or body[1] or self._accepted:
                raise ValueError("refused")
            self._accepted = True
        self._leaving |= kind == _DISCONNECT

    @property
    def polite(self) -> bool:
        """See :class:`SessionClose`."""
        ready = self._accepted and self._asked and not self._leaving
        return ready and self._client.between and self._server.between

    def words(self, mask: bytes) -> tuple[bytes, bytes]:
        """See :class:`SessionClose`."""
        return _USE_ANOTHER_SERVER, _NORMAL
