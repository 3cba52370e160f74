"""Session close: when a session may be ended, with which words, however its bytes are cut."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.sessionclose.table import SESSION_CLOSES

C, S = "client", "server"
MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, body: bytes = b"", *, masked: bool = False, fin: bool = True) -> bytes:
    """One WebSocket frame."""
    size = len(body)
    mark = 0x80 if masked else 0
    if size < 126:
        head = bytes(((0x80 if fin else 0) | opcode, mark | size))
    elif size < 1 << 16:
        head = bytes(((0x80 if fin else 0) | opcode, mark | 126)) + struct.pack("!H", size)
    else:
        head = bytes(((0x80 if fin else 0) | opcode, mark | 127)) + struct.pack("!Q", size)
    return head + (MASK if masked else b"") + body


def mqtt(kind: int, body: bytes = b"") -> bytes:
    """One MQTT packet."""
    size, out = len(body), b""
    while True:
        size, byte = size >> 7, size & 0x7F
        out += bytes((byte | (0x80 if size else 0),))
        if not size:
            return bytes((kind << 4,)) + out + body


def method(number: tuple[int, int], rest: bytes = b"", channel: int = 0) -> bytes:
    """One AMQP method frame."""
    return amqp(1, struct.pack("!HH", *number) + rest, channel)


def amqp(kind: int, payload: bytes, channel: int = 0) -> bytes:
    return struct.pack("!BHI", kind, channel, len(payload)) + payload + b"\xce"


def pg(kind: bytes, body: bytes = b"") -> bytes:
    """One PostgreSQL message; without a kind, the first one."""
    return kind + (len(body) + 4).to_bytes(4, "big") + body


CONNECT5 = mqtt(1, b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02me")
CONNECT4 = mqtt(1, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me")
CONNACK = mqtt(2, b"\x00\x00\x00")
AMQP = b"AMQP\x00\x00\x09\x01"
OPEN_OK = method((10, 41), b"\x00")
START = pg(b"", (3 << 16).to_bytes(4, "big") + b"user\x00me\x00\x00")
SSL = pg(b"", (80877103).to_bytes(4, "big"))
READY, BUSY = pg(b"Z", b"I"), pg(b"Z", b"T")
DELIVER = method((60, 60), b"x" * 20, 1)
CONTENT = amqp(2, struct.pack("!HHQ", 60, 0, 5) + b"\x00\x00", 1)

# protocol, what passed, polite afterwards
CASES: list[tuple[str, list[tuple[str, bytes]], bool]] = [
    ("tcp", [(C, b"anything"), (S, b"at all")], True),
    ("websocket", [], True),
    ("websocket", [(S, frame(1, b"hello")), (C, frame(1, b"hi", masked=True))], True),
    ("websocket", [(S, frame(1, b"x" * 300)), (S, frame(2, b"y" * 70_000))], True),
    ("websocket", [(S, frame(1, b"x" * 300)[:-1])], False),
    ("websocket", [(S, b"\x81")], False),
    ("websocket", [(C, frame(1, b"hello", masked=True)[:-1])], False),
    ("websocket", [(S, frame(1, b"part", fin=False))], False),
    ("websocket", [(S, frame(1, b"part", fin=False)), (S, frame(9))], False),
    ("websocket", [(S, frame(1, b"part", fin=False)), (S, frame(0, b"end"))], True),
    ("websocket", [(S, frame(0, b"end"))], False),
    ("websocket", [(S, frame(8, b"\x03\xe8"))], False),
    ("websocket", [(C, frame(8, b"\x03\xe8", masked=True))], False),
    ("websocket", [(C, frame(1, b"not masked"))], False),
    ("websocket", [(S, frame(1, b"masked", masked=True))], False),
    ("websocket", [(S, frame(3, b"no such opcode"))], False),
    ("websocket", [(S, frame(9, b"x" * 126))], False),
    ("mqtt", [], False),
    ("mqtt", [(C, CONNECT5)], False),
    ("mqtt", [(C, CONNECT5), (S, CONNACK)], True),
    ("mqtt", [(C, CONNECT5), (S, CONNACK), (S, mqtt(3, b"x" * 400))], True),
    ("mqtt", [(C, CONNECT5), (S, CONNACK), (S, mqtt(3, b"x" * 400)[:-1])], False),
    ("mqtt", [(C, CONNECT5), (S, CONNACK), (C, mqtt(12)[:1])], False),
    ("mqtt", [(C, CONNECT5), (S, CONNACK), (C, mqtt(12)), (S, mqtt(13))], True),
    ("mqtt", [(C, CONNECT5), (S, CONNACK), (C, mqtt(14))], False),
    ("mqtt", [(C, CONNECT5), (S, mqtt(2, b"\x00\x87\x00"))], False),
    ("mqtt", [(C, CONNECT4), (S, mqtt(2, b"\x00\x00"))], False),
    ("mqtt", [(C, CONNECT5), (C, CONNECT5), (S, CONNACK)], False),
    ("mqtt", [(C, CONNECT5), (S, CONNACK), (S, b"\x30\x80\x80\x80\x80\x80")], False),
    ("amqp", [], False),
    ("amqp", [(C, AMQP), (S, method((10, 10)))], False),
    ("amqp", [(C, AMQP), (S, OPEN_OK)], True),
    ("amqp", [(C, AMQP), (S, OPEN_OK), (S, amqp(8, b"")), (C, amqp(8, b""))], True),
    ("amqp", [(C, AMQP), (S, OPEN_OK), (S, OPEN_OK[:-1])], False),
    ("amqp", [(C, AMQP), (S, OPEN_OK), (S, DELIVER)], False),
    ("amqp", [(C, AMQP), (S, OPEN_OK), (S, DELIVER), (S, CONTENT)], False),
    ("amqp", [(C, AMQP), (S, OPEN_OK), (S, DELIVER + CONTENT), (S, amqp(3, b"hello", 1))], True),
    ("amqp", [(C, AMQP), (S, OPEN_OK), (S, method((10, 50)))], False),
    ("amqp", [(C, AMQP), (S, OPEN_OK), (C, method((10, 50)))], False),
    ("amqp", [(C, b"AMQP\x00\x01\x00\x00"), (S, OPEN_OK)], False),
    ("amqp", [(C, AMQP), (S, OPEN_OK), (S, b"nonsense")], False),
    ("postgresql", [], False),
    ("postgresql", [(C, START)], False),
    ("postgresql", [(C, START), (S, pg(b"R", b"\x00" * 4)), (S, READY)], True),
    ("postgresql", [(C, START), (S, READY), (C, pg(b"Q", b"select 1\x00"))], False),
    ("postgresql", [(C, START), (S, READY), (C, pg(b"Q", b"begin\x00")), (S, BUSY)], False),
    ("postgresql", [(C, START), (S, READY), (C, pg(b"Q", b"x\x00")), (S, READY)], True),
    ("postgresql", [(C, START), (S, READY), (C, pg(b"Q") * 2), (S, READY)], False),
    ("postgresql", [(C, START), (S, READY), (C, pg(b"Q") * 2), (S, READY * 2)], True),
    ("postgresql", [(C, START), (S, READY), (C, pg(b"P", b"x\x00"))], False),
    ("postgresql", [(C, START), (S, READY), (C, pg(b"Q") + pg(b"P")), (S, READY)], False),
    ("postgresql", [(C, START), (S, READY), (C, pg(b"P") + pg(b"S")), (S, pg(b"1") + READY)], True),
    ("postgresql", [(C, START), (C, pg(b"p", b"secret\x00")), (S, READY)], True),
    ("postgresql", [(C, START), (S, READY), (S, pg(b"N", b"notice\x00"))], False),
    ("postgresql", [(C, START), (S, READY), (C, b"Q")], False),
    ("postgresql", [(C, START), (S, READY), (C, pg(b"X"))], False),
    ("postgresql", [(C, SSL), (S, b"N"), (C, START), (S, READY)], True),
    ("postgresql", [(C, SSL), (S, b"S"), (C, b"\x16\x03\x01"), (S, b"\x16\x03\x03")], False),
    ("postgresql", [(C, pg(b"", (80877102).to_bytes(4, "big") + b"12345678"))], False),
    ("postgresql", [(C, b"GET / HTTP/1.1\r\n\r\n")], False),
]  # fmt: skip


def verdict(protocol: str, passed: list[tuple[str, bytes]]) -> bool:
    session_close = SESSION_CLOSES[protocol]()
    for side, data in passed:
        (session_close.from_client if side == C else session_close.from_server)(data)
    return session_close.polite


@pytest.mark.parametrize(("protocol", "passed", "polite"), CASES)
def test_the_moment(protocol: str, passed: list[tuple[str, bytes]], polite: bool) -> None:
    assert verdict(protocol, passed) is polite
    single = [(side, data[n : n + 1]) for side, data in passed for n in range(len(data))]
    assert verdict(protocol, single) is polite, "byte by byte"


@given(st.sampled_from(CASES), st.data())
def test_any_cut_gives_the_same(case: Any, data: st.DataObject) -> None:
    protocol, passed, polite = case
    pieces = []
    for side, whole in passed:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
        ends = [0, *cuts, len(whole)]
        pieces += [(side, whole[a:b]) for a, b in pairwise(ends)]
    assert verdict(protocol, pieces) is polite


@given(
    st.sampled_from([name for name in SESSION_CLOSES if name != "tcp"]),
    st.lists(st.tuples(st.sampled_from((C, S)), st.binary(max_size=60)), max_size=12),
)
def test_garbage_raises_nothing_and_stays_small(
    protocol: str, passed: list[tuple[str, bytes]]
) -> None:
    session_close = SESSION_CLOSES[protocol]()
    for side, data in passed:
        (session_close.from_client if side == C else session_close.from_server)(data)
    assert session_close.polite in (True, False)
    for directed in (session_close._client, session_close._server):  # type: ignore[attr-defined]
        frames = getattr(directed, "frames", directed)
        assert len(frames._header) <= 16
        assert len(frames._body) <= 16


def test_a_server_that_breaks_the_protocol_is_never_polite_again() -> None:
    assert not verdict("websocket", [(S, frame(3)), (S, frame(1, b"fine"))])
    assert not verdict("postgresql", [(C, START), (S, READY), (S, READY), (S, READY)])


def test_words() -> None:
    words = {name: cls().words(MASK) for name, cls in SESSION_CLOSES.items()}
    assert words["tcp"] == (b"", b"")
    to_client, to_server = words["websocket"]
    assert to_client == b"\x88\x02\x03\xf4"
    assert to_server[:6] == b"\x88\x82" + MASK
    assert bytes(a ^ b for a, b in zip(to_server[6:], MASK, strict=False)) == b"\x03\xe9"
    assert words["mqtt"] == (b"\xe0\x02\x9c\x00", b"\xe0\x00")
    to_client, to_server = words["amqp"]
    assert to_client[7:13] == b"\x00\x0a\x00\x32\x01\x40"
    assert to_server[11:13] == b"\x00\xc8"
    for one in words["amqp"]:
        assert len(one) == 8 + int.from_bytes(one[3:7], "big")
        assert one.endswith(b"\xce")
    to_client, to_server = words["postgresql"]
    assert len(to_client) == 1 + int.from_bytes(to_client[1:5], "big")
    assert b"\x00C57P01\x00" in to_client
    assert to_client.endswith(b"\x00\x00")
    assert to_server == b"X\x00\x00\x00\x04"
