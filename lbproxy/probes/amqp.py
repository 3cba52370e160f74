"""CONTROL. The ``amqp`` check of RabbitMQ and other AMQP 0-9-1 brokers.

It covers everything from the protocol header to a clean close.

Found by :mod:`lbproxy.registry` under its name. Method names and numbers are those of the AMQP
0-9-1 specification; ``connection.blocked`` and ``confirm`` are RabbitMQ's extensions.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.probes.base import Conversation, Probe, ProbeTarget, Unhealthy, shown
from lbproxy.probes.credentials import (
    password_file_option,
    password_option,
    read_password,
    verify_password,
)

__all__ = ["AmqpOptions", "AmqpProbe"]

FRAME_BYTES = 128 * 1024
"""Maximum length of a frame before tuning has finished; server properties are never longer."""

_HEADER = b"AMQP\0\0\x09\x01"
_METHOD, _HEARTBEAT, _END = 1, 8, 0xCE

_START, _START_OK = (10, 10), (10, 11)
_SECURE = (10, 20)
_TUNE, _TUNE_OK = (10, 30), (10, 31)
_OPEN, _OPEN_OK = (10, 40), (10, 41)
_CLOSE, _CLOSE_OK = (10, 50), (10, 51)
_BLOCKED, _UNBLOCKED = (10, 60), (10, 61)
_CHANNEL_OPEN, _CHANNEL_OPEN_OK, _CHANNEL_CLOSE = (20, 10), (20, 11), (20, 40)
_PUBLISH, _ACK, _NACK = (60, 40), (60, 80), (60, 120)
_CONFIRM, _CONFIRM_OK = (85, 10), (85, 11)

Method = tuple[int, int]


@frozen
class AmqpOptions:
    """Options of ``check = amqp``."""

    user: str = option("string", "guest", doc="user to log in as", example="lbproxy")
    password: str = password_option("its password; guest's is ``guest``")
    password_file: str = password_file_option()
    vhost: str = option("string", "/", doc="virtual host to open")
    publish: bool = option(
        "flag",
        False,
        doc=(
            "publish a message that no queue receives, and wait for its confirmation; fails "
            "while a memory or disk alarm blocks publishers"
        ),
    )

    def __attrs_post_init__(self) -> None:
        verify_password(self.password, self.password_file)
        if self.user != "guest" and not (self.password or self.password_file):
            raise ValueError(f"user: {self.user[:80]!r} needs a password")
        for name in ("user", "password", "vhost"):
            value: str = getattr(self, name)
            if "\0" in value or len(value.encode()) > 255:
                raise ValueError(f"{name}: at most 255 bytes, none of them zero")


class AmqpProbe(Probe):
    """Healthy if the server accepts an AMQP connection, the login and the virtual host, and closes
    the connection cleanly.

    The check declares nothing. With ``publish`` it sends one message to the default exchange, with
    a routing key that no queue has.
    """

    name: ClassVar[str] = "amqp"
    Options: ClassVar[type[Any]] = AmqpOptions

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        options: AmqpOptions = self.options
        password = read_password(options.password, options.password_file) or "guest"
        talk = _Talk(conversation)
        conversation.send(_HEADER)
        start = await talk.expect(_START)
        version, mechanisms = _read_start(start)
        if "PLAIN" not in mechanisms:
            raise Unhealthy(f"takes no PLAIN login, only {' '.join(mechanisms)[:80]}")
        talk.send(_START_OK, _start_ok(options.user, password))
        tune = await talk.expect(_TUNE)
        if len(tune) < 8:
            raise Unhealthy("connection.tune is too short")
        talk.send(_TUNE_OK, tune[:6] + b"\0\0")  # no heartbeat: the check ends before the first
        talk.send(_OPEN, _short(options.vhost) + b"\0\0")
        await talk.expect(_OPEN_OK)
        if options.publish:
            await _publish(talk)
        talk.send(_CLOSE, struct.pack(">H", 200) + _short("bye") + bytes(4))
        await talk.expect(_CLOSE_OK)
        return f"{version}, published" if options.publish else version


class _Talk:
    """Sends and receives AMQP methods."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def send(self, method: Method, arguments: bytes, channel: int = 0) -> None:
        payload = struct.pack(">HH", *method) + arguments
        self._conversation.send(_frame(_METHOD, channel, payload))

    async def expect(self, wanted: Method) -> bytes:
        """Return the arguments of the next method, which must be ``wanted``."""
        while True:
            kind, payload = await self._frame()
            if kind == _HEARTBEAT:
                continue
            if kind != _METHOD or len(payload) < 4:
                raise Unhealthy(f"sent a frame of type {kind} where a method was due")
            method: Method = struct.unpack_from(">HH", payload)
            if method == wanted:
                return payload[4:]
            self._unwanted(method, payload[4:])

    def _unwanted(self, method: Method, arguments: bytes) -> None:
        """Handle an unexpected frame: return if it does not matter, else raise."""
        if method == _UNBLOCKED:
            return
        if method == _BLOCKED:
            raise Unhealthy(f"publishers are blocked: {_read_short(arguments)}")
        if method in (_CLOSE, _CHANNEL_CLOSE):
            if method == _CLOSE:
                self.send(_CLOSE_OK, b"")
            code = int.from_bytes(arguments[:2], "big")
            raise Unhealthy(f"closed with {code} {_read_short(arguments[2:])}")
        if method == _SECURE:
            raise Unhealthy("wants a longer login than PLAIN")
        if method == _NACK:
            raise Unhealthy("has not taken a message")
        raise Unhealthy(f"sent method {method[0]}.{method[1]}, which was not due")

    async def _frame(self) -> tuple[int, bytes]:
        receive = self._conversation.receive_exactly
        head = await receive(7)
        if head[:4] == b"AMQP":
            version = await receive(1)
            raise Unhealthy(f"speaks another version of AMQP: {(head[4:] + version).hex(' ')}")
        kind, _, size = struct.unpack(">BHI", head)
        if kind not in (1, 2, 3, 8):
            raise Unhealthy(f"does not speak AMQP: {shown(head)}")
        if size > FRAME_BYTES:
            raise Unhealthy(f"sent a frame of {size} bytes")
        payload = await receive(size + 1)
        if payload[-1] != _END:
            raise Unhealthy("sent a frame without an end")
        return kind, payload[:-1]

    def content(self, channel: int, body: bytes) -> None:
        """Send a message's header (class basic, no properties) and its body."""
        head = struct.pack(">HHQH", 60, 0, len(body), 0)
        self._conversation.send(_frame(2, channel, head) + _frame(3, channel, body))


async def _publish(talk: _Talk) -> None:
    """Publish a message that no queue receives, and wait for its confirmation.

    Under an alarm, RabbitMQ answers connection.blocked and stops reading.
    """
    talk.send(_CHANNEL_OPEN, b"\0", 1)
    await talk.expect(_CHANNEL_OPEN_OK)
    talk.send(_CONFIRM, b"\0", 1)
    await talk.expect(_CONFIRM_OK)
    talk.send(_PUBLISH, b"\0\0" + _short("") + _short("lbproxy.check.nobody") + b"\0", 1)
    talk.content(1, b"check")
    await talk.expect(_ACK)


# -- encoding --------------------------------------------------------------------------------------


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([_END])


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def _long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _table(entries: dict[str, str | bool | bytes]) -> bytes:
    """Encode a field table of texts, booleans and tables that are already encoded."""
    out = b""
    for name, value in entries.items():
        out += _short(name)
        if isinstance(value, bool):
            out += b"t" + bytes([value])
        elif isinstance(value, str):
            out += b"S" + _long(value.encode())
        else:
            out += b"F" + value
    return _long(out)


def _start_ok(user: str, password: str) -> bytes:
    capabilities = _table({"connection.blocked": True, "authentication_failure_close": True})
    properties = _table(
        {
            "product": "lbproxy",
            "information": "health check",
            "connection_name": "lbproxy check",
            "capabilities": capabilities,
        }
    )
    login = f"\0{user}\0{password}".encode()
    return properties + _short("PLAIN") + _long(login) + _short("en_US")


def _read_short(data: bytes) -> str:
    """Return the short string at the beginning of ``data``, for a note."""
    return data[1 : 1 + data[0]].decode("utf-8", "replace")[:200] if data else ""


def _read_start(data: bytes) -> tuple[str, list[str]]:
    """Return "RabbitMQ 3.10.8" and the login mechanisms that connection.start offers."""
    try:
        (size,) = struct.unpack_from(">I", data, 2)
        table = data[6 : 6 + size]
        (length,) = struct.unpack_from(">I", data, 6 + size)
        mechanisms = data[10 + size : 10 + size + length].decode("ascii").split()
    except (struct.error, UnicodeDecodeError):
        raise Unhealthy("connection.start cannot be read") from None
    words = [_text_entry(table, name) for name in (b"product", b"version")]
    return " ".join(word for word in words if word) or "AMQP 0-9-1", mechanisms


def _text_entry(table: bytes, name: bytes) -> str:
    """Return the text under ``name``, without parsing the entries before it; "" if not found."""
    mark = bytes([len(name)]) + name + b"S"
    at = table.find(mark)
    if at < 0 or len(table) < at + len(mark) + 4:
        return ""
    at += len(mark)
    (size,) = struct.unpack_from(">I", table, at)
    return table[at + 4 : at + 4 + min(size, 40)].decode("utf-8", "replace")
