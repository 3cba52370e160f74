"""CONTROL. The ``mqtt`` check: CONNECT, CONNACK, DISCONNECT in MQTT 3.1.1 or 5.

Found by :mod:`lbproxy.registry` under its name.  Section numbers are those of the OASIS standards.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.interfaces import Env
from lbproxy.probes.base import Conversation, Probe, ProbeTarget, Unhealthy, shown
from lbproxy.probes.credentials import (
    password_file_option,
    password_option,
    read_password,
    verify_password,
)

__all__ = ["MqttOptions", "MqttProbe"]

PACKET_BYTES = 64 * 1024
"""Maximum length of a CONNACK; a packet that declares more is invalid."""

_CONNECT, _CONNACK, _DISCONNECT, _AUTH = 0x10, 0x20, 0xE0, 0xF0

_REFUSALS_3 = {
    1: "protocol version not accepted",
    2: "client id refused",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorised",
}
_REFUSALS_5 = {
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "protocol version not accepted",
    0x85: "client id refused",
    0x86: "bad user name or password",
    0x87: "not authorised",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x95: "packet too large",
    0x97: "quota exceeded",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9F: "connection rate exceeded",
}


@frozen
class MqttOptions:
    """Options of ``check = mqtt``."""

    version: str = option("choice", "3.1.1", choices=("3.1.1", "5"), doc="MQTT protocol version")
    user: str = option("string", "", doc="user to log in as; empty: anonymous", example="lbproxy")
    password: str = password_option("its password")
    password_file: str = password_file_option()
    client_id: str = option(
        "string",
        "lbproxy",
        doc=(
            "prefix of client ids; the rest differs in every check, because two clients with the "
            "same id disconnect each other"
        ),
    )

    def __attrs_post_init__(self) -> None:
        verify_password(self.password, self.password_file)
        for name in ("user", "password", "client_id"):
            if len(getattr(self, name).encode()) > 60_000:
                raise ValueError(f"{name} is too long")
        if (self.password or self.password_file) and not self.user:
            raise ValueError("password: MQTT knows no password without a user")


class MqttProbe(Probe):
    """Healthy if the broker accepts a client with a clean session, which leaves nothing behind."""

    name: ClassVar[str] = "mqtt"
    Options: ClassVar[type[Any]] = MqttOptions

    def __init__(self, options: MqttOptions, env: Env) -> None:
        super().__init__(options, env)
        self._five = options.version == "5"

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        # every server must accept 23 characters; this has 14 digits and "lbproxy" (3.1.1, 3.1.3.1)
        client_id = f"{self.options.client_id}{self.env.random.getrandbits(56):014x}"
        conversation.send(self._connect(client_id))
        kind, body = await _packet(conversation)
        if kind == _AUTH and self._five:
            raise Unhealthy("wants an extended login")
        if kind == _DISCONNECT and self._five:
            reason = body[0] if body else 0
            raise Unhealthy(f"disconnected: {_REFUSALS_5.get(reason, f'reason {reason}')}")
        if kind != _CONNACK or len(body) < 2 or body[0] > 1:
            raise Unhealthy(f"does not speak MQTT: {shown(bytes([kind]) + body)}")
        code = body[1]
        if code:
            words = (_REFUSALS_5 if self._five else _REFUSALS_3).get(code)
            raise Unhealthy(f"refused: {words or f'code {code}'}")
        conversation.send(bytes([_DISCONNECT, 0]))
        return "connected"

    def _connect(self, client_id: str) -> bytes:
        """Return the CONNECT packet (3.1)."""
        options: MqttOptions = self.options
        # clean session; in version 5: clean start, and a session that ends with the connection
        flags = 0x02
        payload = _text(client_id)
        if options.user:
            flags |= 0x80
            payload += _text(options.user)
        password = read_password(options.password, options.password_file)
        if password:
            flags |= 0x40
            payload += _text(password)
        head = _text("MQTT") + bytes([5 if self._five else 4, flags]) + struct.pack(">H", 60)
        body = head + (b"\0" if self._five else b"") + payload
        return bytes([_CONNECT]) + _length(len(body)) + body


async def _packet(conversation: Conversation) -> tuple[int, bytes]:
    """Return the first byte and the body of the next packet."""
    kind = (await conversation.receive_exactly(1))[0]
    if kind not in (_CONNACK, _DISCONNECT, _AUTH):
        raise Unhealthy(f"does not speak MQTT: {shown(bytes([kind]))}")
    size = 0
    for shift in (0, 7, 14, 21):
        digit = (await conversation.receive_exactly(1))[0]
        size |= (digit & 0x7F) << shift
        if digit < 0x80:
            break
    else:
        raise Unhealthy("does not speak MQTT: a packet length of five bytes")
    if size > PACKET_BYTES:
        raise Unhealthy(f"sent a packet of {size} bytes")
    return kind, await conversation.receive_exactly(size)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _length(size: int) -> bytes:
    """Encode the remaining length (2.2.3)."""
    out = bytearray()
    while True:
        size, digit = size >> 7, size & 0x7F
        out.append(digit | 0x80 if size else digit)
        if not size:
            return bytes(out)
