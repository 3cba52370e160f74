"""Asking a proxy for a connection, byte by byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cors.tunnels import ConnectRequest, Negotiation, ProxyRefused, SocksRequest

OK = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
GRANTED = b"\x05\x00" + b"\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90"
NAMED = b"\x05\x00" + b"\x05\x00\x00\x03\x02ab\x1f\x90"


def talk(one: Negotiation, *answers: bytes) -> bytes:
    sent = one.begin()
    for answer in answers:
        sent += one.receive(answer)
    return sent


def test_connect() -> None:
    one = ConnectRequest("2001:db8::1", 443, "me", "secret")
    assert talk(one, OK) == (
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"
        b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n"
    )
    assert one.done


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 No\r\n\r\n", "answers 407"),
        (b"HTTP/1.1 100\r\n\r\n", "answers 100"),
        (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP/1"),
        (b"HTTP/1.1\r\n\r\n", "does not speak HTTP/1"),
        (OK + b"x", "before the target got a request"),
        (b"x" * 9000, "too long"),
    ],
)
def test_connect_is_refused(answer: bytes, words: str) -> None:
    with pytest.raises(ProxyRefused, match=words):
        talk(ConnectRequest("192.0.2.1", 80), answer)


def test_socks() -> None:
    one = SocksRequest("192.0.2.1", 443)
    assert talk(one, b"\x05\x00", GRANTED[2:]) == (
        b"\x05\x01\x00" + b"\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb"
    )
    assert one.done


def test_socks_with_a_login() -> None:
    one = SocksRequest("::1", 80, "me", "pw")
    sent = talk(one, b"\x05\x02", b"\x01\x00", GRANTED[2:])
    assert sent == (
        b"\x05\x02\x00\x02"
        + b"\x01\x02me\x02pw"
        + b"\x05\x01\x00\x04"
        + bytes(15)
        + b"\x01\x00\x50"
    )
    assert one.done


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([b"\x04\x00"], "does not speak SOCKS5"),
        ([b"\x05\xff"], "another way to log in"),
        ([b"\x05\x02"], "another way to log in"),
        ([b"\x05\x00", b"\x05\x02\x00\x01"], "not allowed"),
        ([b"\x05\x00", b"\x05\x63"], "error 99"),
        ([b"\x05\x00", b"\x04\x00"], "does not speak SOCKS5"),
        ([b"\x05\x00", b"\x05\x00\x00\x09\x00"], "does not speak SOCKS5"),
        ([b"\x05\x00", GRANTED[2:] + b"x"], "before the target got a request"),
        ([GRANTED], "before it got a request"),
    ],
)
def test_socks_is_refused(answers: list[bytes], words: str) -> None:
    with pytest.raises(ProxyRefused, match=words):
        talk(SocksRequest("192.0.2.1", 80), *answers)


@given(cuts=st.lists(st.integers(1, 5), max_size=20))
@pytest.mark.parametrize(
    ("make", "answers"),
    [
        (ConnectRequest, [OK]),
        (SocksRequest, [GRANTED[:2], GRANTED[2:]]),
        (SocksRequest, [NAMED[:2], NAMED[2:]]),
    ],
)
def test_any_split(
    make: Callable[[str, int], Negotiation], answers: list[bytes], cuts: list[int]
) -> None:
    one, whole = make("192.0.2.1", 80), make("192.0.2.1", 80)
    sent = one.begin()
    for answer in answers:
        left = answer
        for cut in cuts:
            sent += one.receive(left[:cut]) if left[:cut] else b""
            left = left[cut:]
        if left:
            assert not one.done
            sent += one.receive(left)
    assert one.done
    assert sent == talk(whole, *answers)
