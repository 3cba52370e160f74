"""The mqtt check: packets of both versions, refusals and nonsense."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.health.state import Result
from lbproxy.probes.mqtt import MqttOptions, MqttProbe, _length
from tests.probes.world import Scripted, World

GOOD_3, GOOD_5 = b"\x20\x02\x00\x00", b"\x20\x03\x00\x00\x00"


def check(answer: bytes, *, close: bool = False, **options: Any) -> tuple[Result, World]:
    def script(client: Scripted) -> None:
        if client.data.startswith(b"\x10") and not client.data.endswith(b"\xe0\x00"):
            for i in range(len(answer)):
                client.write(answer[i : i + 1])
            if close:
                client.close()

    world = World(script)
    world.listen()
    result = world.check(MqttProbe(MqttOptions(**options), world.env))
    assert world.all_closed()
    return result, world


def packet(world: World) -> bytes:
    return world.clients[0].data


def test_version_3() -> None:
    result, world = check(GOOD_3)
    assert (result.ok, result.note) == (True, "connected")
    data = packet(world)
    assert data[:14] == b"\x10\x21\x00\x04MQTT\x04\x02\x00\x3c\x00\x15"
    client_id = data[14:35]
    assert client_id.startswith(b"lbproxy") and client_id.isalnum() and len(client_id) <= 23
    assert data[35:] == b"\xe0\x00"


def test_version_5_with_a_login() -> None:
    result, world = check(GOOD_5, version="5", user="lb", password="s3", client_id="check-")
    assert result.ok
    data = packet(world)
    assert data[2:13] == b"\x00\x04MQTT\x05\xc2\x00\x3c\x00"
    assert b"\x00\x14check-" in data and data.endswith(b"\x00\x02lb\x00\x02s3\xe0\x00")


def test_every_check_has_a_client_id_of_its_own() -> None:
    world = World(lambda client: client.write(GOOD_3 if len(client.data) > 2 else b""))
    world.listen()
    probe = MqttProbe(MqttOptions(), world.env)
    for _ in range(20):
        assert world.check(probe).ok
    assert len({client.data for client in world.clients}) == 20


@pytest.mark.parametrize(
    ("version", "answer", "note"),
    [
        ("3.1.1", b"\x20\x02\x00\x04", "refused: bad user name or password"),
        ("3.1.1", b"\x20\x02\x00\x05", "refused: not authorised"),
        ("3.1.1", b"\x20\x02\x00\x09", "refused: code 9"),
        ("5", b"\x20\x03\x00\x87\x00", "refused: not authorised"),
        ("5", b"\x20\x03\x00\x88\x00", "refused: server unavailable"),
        ("5", b"\x20\x03\x00\xee\x00", "refused: code 238"),
        ("5", b"\xe0\x01\x8b", "disconnected: server shutting down"),
        ("5", b"\xf0\x02\x18\x00", "wants an extended login"),
        ("3.1.1", b"\xe0\x00", "does not speak MQTT: '\\xe0'"),
        ("3.1.1", b"\x20\x02\x02\x00", "does not speak MQTT: ' \\x02\\x00'"),
        ("3.1.1", b"\x20\x01\x00", "does not speak MQTT: ' \\x00'"),
        ("3.1.1", b"\x20\x00", "does not speak MQTT: ' '"),
        (
            "3.1.1",
            b"\x20\xff\xff\xff\xff\x01",
            "does not speak MQTT: a packet length of five bytes",
        ),
        ("3.1.1", b"\x20\xff\xff\xff\x7f", "sent a packet of 268435455 bytes"),
        ("3.1.1", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak MQTT: 'H'"),
    ],
)
def test_refusals_and_nonsense(version: str, answer: bytes, note: str) -> None:
    result, _ = check(answer, version=version)
    assert (result.ok, result.note) == (False, note)


@pytest.mark.parametrize("size", range(4))
def test_cut_short(size: int) -> None:
    result, _ = check(GOOD_3[:size], close=True)
    assert (result.ok, result.note) == (False, "closed before its answer was complete")


def test_lengths() -> None:
    assert [_length(n) for n in (0, 127, 128, 16_383, 16_384)] == [
        b"\x00", b"\x7f", b"\x80\x01", b"\xff\x7f", b"\x80\x80\x01",
    ]  # fmt: skip


@pytest.mark.parametrize("options", [{"password": "x"}, {"user": "x" * 70_000}])
def test_mistakes_in_options(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"password|too long"):
        MqttOptions(**options)
