"""The amqp check against a scripted broker: logins, alarms, refusals and nonsense."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.health.state import Result
from lbproxy.probes.amqp import FRAME_BYTES, AmqpOptions, AmqpProbe
from tests.probes.world import Scripted, World


def method(cls: int, number: int, arguments: bytes = b"", channel: int = 0) -> bytes:
    payload = struct.pack(">HH", cls, number) + arguments
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def start(mechanisms: bytes = b"AMQPLAIN PLAIN") -> bytes:
    table = b"\x0ccapabilitiesF" + long(b"\x05basict\x01")
    table += b"\x07productS" + long(b"RabbitMQ") + b"\x07versionS" + long(b"3.10.8")
    return method(10, 10, b"\x00\x09" + long(table) + long(mechanisms) + long(b"en_US"))


TUNE = method(10, 30, struct.pack(">HIH", 2047, 131072, 60))
OPEN_OK, CLOSE_OK = method(10, 41, b"\0"), method(10, 51)
HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"
BLOCKED = method(10, 60, short("low on disk"))

PLAY: dict[Any, bytes] = {
    "header": start(),
    (10, 11): TUNE,
    (10, 31): b"",
    (10, 40): OPEN_OK,
    (20, 10): method(20, 11, bytes(4), 1),
    (85, 10): method(85, 11, b"", 1),
    (60, 40): b"",
    "body": method(60, 80, bytes(9), 1),
    (10, 50): CLOSE_OK,
    (10, 51): b"",
}


class Broker:
    """Answers each method with what the play says."""

    def __init__(self, changes: dict[Any, bytes] | None = None, *, close_after: Any = ()) -> None:
        self.play = {**PLAY, **(changes or {})}
        self.close_after = close_after
        self.methods: dict[Any, bytes] = {}

    def __call__(self, client: Scripted) -> None:
        for key, arguments in self._units(client):
            self.methods[key] = arguments
            for i in range(0, len(self.play[key]), 3):
                client.write(self.play[key][i : i + 3])
            if key == self.close_after:
                client.close()

    def _units(self, client: Scripted) -> Iterator[tuple[Any, bytes]]:
        if "header" not in self.methods and len(client.data) >= 8:
            data, client.data = client.data[:8], client.data[8:]
            yield "header", data
        while "header" in self.methods and len(client.data) >= 7:
            kind, _, size = struct.unpack(">BHI", client.data[:7])
            payload, end = client.data[7 : 7 + size], client.data[7 + size : 8 + size]
            assert end == b"\xce"
            client.data = client.data[8 + size :]
            if kind == 1:
                yield struct.unpack(">HH", payload[:4]), payload[4:]
            elif kind == 3:
                yield "body", payload


def check(broker: Broker, **options: Any) -> Result:
    world = World(broker)
    world.listen()
    result = world.check(AmqpProbe(AmqpOptions(**options), world.env))
    assert world.all_closed()
    return result


def test_a_whole_talk() -> None:
    broker = Broker()
    result = check(broker, user="lb", password="s3", vhost="jobs")
    assert (result.ok, result.note) == (True, "RabbitMQ 3.10.8")
    assert broker.methods["header"] == b"AMQP\x00\x00\x09\x01"
    assert b"\x05PLAIN" + long(b"\0lb\0s3") + short("en_US") in broker.methods[10, 11]
    assert b"\x12connection.blockedt\x01" in broker.methods[10, 11]
    assert broker.methods[10, 31] == struct.pack(">HIH", 2047, 131072, 0)
    assert broker.methods[10, 40] == short("jobs") + b"\0\0"
    assert (10, 50) in broker.methods and (60, 40) not in broker.methods


def test_publishing() -> None:
    broker = Broker()
    result = check(broker, publish=True)
    assert (result.ok, result.note) == (True, "RabbitMQ 3.10.8, published")
    assert broker.methods[60, 40] == b"\0\0\0" + short("lbproxy.check.nobody") + b"\0"
    assert broker.methods["body"] == b"check"


def test_an_alarm_blocks_publishers() -> None:
    result = check(Broker({"body": BLOCKED}), publish=True)
    assert (result.ok, result.note) == (False, "publishers are blocked: low on disk")


def test_heartbeats_and_the_end_of_an_alarm_do_not_matter() -> None:
    assert check(Broker({(10, 40): HEARTBEAT + method(10, 61) + OPEN_OK})).ok


def refusal(code: int, text: str) -> bytes:
    return method(10, 50, struct.pack(">H", code) + short(text) + bytes(4))


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({(10, 11): refusal(403, "ACCESS_REFUSED")}, "closed with 403 ACCESS_REFUSED"),
        ({(10, 40): refusal(530, "no vhost")}, "closed with 530 no vhost"),
        ({(10, 40): BLOCKED}, "publishers are blocked: low on disk"),
        ({(10, 11): method(10, 20, long(b"?"))}, "wants a longer login than PLAIN"),
        ({"header": start(b"EXTERNAL")}, "takes no PLAIN login, only EXTERNAL"),
        ({"header": b"AMQP\x00\x01\x00\x00"}, "speaks another version of AMQP: 00 01 00 00"),
        ({"header": b"HTTP/1.1 400 Bad Request"}, "does not speak AMQP: 'HTTP/1."),
        ({"header": b"\x01\0\0\xff\xff\xff\xff"}, "sent a frame of 4294967295 bytes"),
        ({"header": method(10, 10, bytes(FRAME_BYTES))}, f"sent a frame of {FRAME_BYTES + 4}"),
        ({"header": start()[:-1] + b"\0"}, "sent a frame without an end"),
        ({"header": method(10, 10, b"\0\x09")}, "connection.start cannot be read"),
        ({"header": method(10, 10, b"\0\x09\xff\xff\xff\xff")}, "connection.start cannot be read"),
        ({"header": method(10, 41)}, "sent method 10.41, which was not due"),
        ({"header": b"\x01\0\0\0\0\0\x02ab\xce"}, "sent a frame of type 1 where a method"),
        ({"header": b"\x03\0\0\0\0\0\x02ab\xce"}, "sent a frame of type 3 where a method"),
        ({(10, 11): method(10, 30, b"\0")}, "connection.tune is too short"),
    ],
)
def test_refusals_and_nonsense(changes: dict[Any, bytes], note: str) -> None:
    result = check(Broker(changes))
    assert not result.ok and result.note.startswith(note), result.note


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"body": method(60, 120, bytes(10), 1)}, "has not taken a message"),
        ({(20, 10): method(20, 40, struct.pack(">H", 504) + short("no"), 1)}, "closed with 504 no"),
    ],
)
def test_publishing_refused(changes: dict[Any, bytes], note: str) -> None:
    assert check(Broker(changes), publish=True).note == note


@pytest.mark.parametrize("step", ["header", (10, 11), (10, 40), (10, 50)])
@pytest.mark.parametrize("left", [0, 1, 7, 9])
def test_cut_short(step: Any, left: int) -> None:
    result = check(Broker({step: PLAY[step][:left]}, close_after=step))
    assert (result.ok, result.note) == (False, "closed before its answer was complete")


def test_a_refusal_is_acknowledged() -> None:
    broker = Broker({(10, 40): refusal(530, "no")})
    check(broker)
    assert (10, 51) in broker.methods


@pytest.mark.parametrize(
    "options", [{"vhost": "x" * 256}, {"user": "a\0b", "password": "x"}, {"password": "\0"}]
)
def test_mistakes_in_options(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="at most 255 bytes"):
        AmqpOptions(**options)


def test_a_user_needs_a_password(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'lb' needs a password"):
        AmqpOptions(user="lb")
    path = tmp_path / "secret"
    path.write_text("s4\n")
    broker = Broker()
    assert check(broker, user="lb", password_file=str(path)).ok
    assert long(b"\0lb\0s4") in broker.methods[10, 11]
