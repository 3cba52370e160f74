"""Who the client is behind trusted proxies, and that nothing contradicts it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbproxy.config.model import FrontendSpec
from lbproxy.guard.addresses import split_address
from lbproxy.http.forward import Forwarder
from lbproxy.http.forwarded import elements
from lbproxy.http.message import RequestHead
from tests.http.traffic import request

PEER = "10.0.0.9"
TRUSTED = (ip_network("10.0.0.0/8"),)


def forwarder(**keys: Any) -> Forwarder:
    return Forwarder(FrontendSpec(name="web", trusted_proxies=TRUSTED, **keys))


def client(*lines: tuple[str, str], peer: str = PEER, **keys: Any) -> tuple[str, int]:
    ip, port, _ = forwarder(**keys).client(peer, request(headers=lines), "http", 4711)
    return ip, port


def sent(name: str, *lines: tuple[str, str], peer: str = PEER, **keys: Any) -> list[bytes]:
    """The values of ``name`` that a server gets."""
    fwd = forwarder(**keys)
    head: RequestHead = request(headers=lines)
    _, _, scheme = fwd.client(peer, head, "http", 4711)
    out = fwd.server_request(head, client_ip=peer, scheme=scheme)
    return out.header_values(name.encode())


# -- Forwarded -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ('for=192.0.2.63;host="x,for=6.6.6.6"', ("192.0.2.63", 0)),
        ('for=192.0.2.63;host="x,for=6.6.6.6;by="', ("192.0.2.63", 0)),
        ('for=192.0.2.63;host="x\\",for=6.6.6.6;by=\\""', ("192.0.2.63", 0)),
        ('for=192.0.2.63;host="x,for=6.6.6.6;by=";by=";for=6.6.6.6"', ("192.0.2.63", 0)),
        ('for="192.0.2.63:5678"', ("192.0.2.63", 5678)),
        ("for=192.0.2.63:5678", ("192.0.2.63", 5678)),
        ('for="[2001:db8::1]:99"', ("2001:db8::1", 99)),
        ('for="[2001:db8::1]"', ("2001:db8::1", 0)),
        ('for="192.0.2.63:_x-1"', ("192.0.2.63", 0)),
        ('for="192.0.2.63:99999"', ("192.0.2.63", 0)),
        ('for="192.0.2.63:"', (PEER, 4711)),
        ('For="192\\.0.2.63";Proto=https', ("192.0.2.63", 0)),
        ("for=6.6.6.6, for=192.0.2.63, for=10.0.0.8", ("192.0.2.63", 0)),
        ("for=192.0.2.63 ;  proto=https ; ", ("192.0.2.63", 0)),
        ("for=192.0.2.63,, ", ("192.0.2.63", 0)),
        ("for=192.0.2.63;for=6.6.6.6", (PEER, 4711)),
        ("for=6.6.6.6, for=192.0.2.63;FOR=192.0.2.63", (PEER, 4711)),
        ("for=6.6.6.6, for=unknown", (PEER, 4711)),
        ("for=6.6.6.6, for=_hidden", (PEER, 4711)),
        ("for=6.6.6.6, by=_x", (PEER, 4711)),
        ('for="evil, for=192.0.2.63', ("192.0.2.63", 0)),
        ('for="evil, for="[2001:db8::1]:99";host="a"', ("2001:db8::1", 99)),
        ('\\", for=192.0.2.63', ("192.0.2.63", 0)),
        ("for 192.0.2.63", (PEER, 4711)),
        ("for=", (PEER, 4711)),
        ("," * 200, (PEER, 4711)),
    ],
)
def test_forwarded(value: str, wanted: tuple[str, int]) -> None:
    assert client(("Forwarded", value)) == wanted


TOKENS = st.text("abz019!-._~", min_size=1, max_size=4)
QUOTED = st.text('ab1,;="\\ .:[]_', max_size=12).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
NAMES = st.sampled_from(["by", "host", "proto", "x"])
PAIRS = st.dictionaries(NAMES, TOKENS | QUOTED, max_size=3)


def element(address: str, pairs: dict[str, str]) -> str:
    return ";".join([f"for={address}", *(f"{name}={value}" for name, value in pairs.items())])


@given(st.lists(PAIRS, max_size=4), PAIRS)
def test_a_quoted_string_is_no_element(before: list[dict[str, str]], last: dict[str, str]) -> None:
    parts = [*(element("6.6.6.6", pairs) for pairs in before), element("192.0.2.63", last)]
    value = ", ".join(parts).encode()
    assert len(elements(value, 32)) == len(parts)
    assert client(("Forwarded", value.decode())) == ("192.0.2.63", 0)


@given(st.text('for=6.,;"\\ host', max_size=40), PAIRS)
@example('for=6.6.6.6;host="', {"host": '"a"'})
@example('host=",for=6.6.6.6;by="', {"host": '";a="'})
def test_what_a_client_sent_never_hides_what_a_proxy_appends(
    before: str, last: dict[str, str]
) -> None:
    last.pop("by", None)
    value = f"{before}, {element('192.0.2.63', {})}"
    assert client(("Forwarded", value)) == ("192.0.2.63", 0)


@given(st.binary(max_size=60), st.integers(1, 8))
def test_any_bytes(value: bytes, most: int) -> None:
    found = elements(value, most)
    assert len(found) <= most
    assert all(found[:-1])


def test_the_work_is_bounded() -> None:
    assert elements(b'for="' + b"," * 30_000, 32) == [{}]
    assert elements(b"for=" + b"a" * 5000, 32) == [{}]


# -- X-Forwarded-For -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1.2.3.4,", ("1.2.3.4", 0)),
        (",1.2.3.4, ,, ", ("1.2.3.4", 0)),
        ("1.2.3.4:5678", ("1.2.3.4", 5678)),
        ("1.2.3.4:5678, 10.0.0.7:80", ("1.2.3.4", 5678)),
        ("[2001:db8::1]:9", ("2001:db8::1", 9)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("junk", (PEER, 4711)),
        (",", (PEER, 4711)),
    ],
)
def test_x_forwarded_for(value: str, wanted: tuple[str, int]) -> None:
    assert client(("X-Forwarded-For", value)) == wanted


def test_an_empty_one_is_none() -> None:
    lines = (("X-Forwarded-For", ","), ("Forwarded", "for=1.2.3.4"))
    assert client(*lines) == ("1.2.3.4", 0)


def test_the_port_of_a_peer_that_is_not_trusted_stays() -> None:
    assert client(("X-Forwarded-For", "1.2.3.4:1"), peer="9.9.9.9") == ("9.9.9.9", 4711)


@given(st.binary(max_size=40))
def test_split_address_takes_anything(text: bytes) -> None:
    ip, port = split_address(text)
    assert 0 <= port < 65536
    assert ip or not port


# -- what servers get does not contradict ----------------------------------------------------------


def test_only_forwarded_comes() -> None:
    line = ("Forwarded", 'for="[2001:db8::1]:5", for=10.0.0.8')
    assert sent("X-Forwarded-For", line) == [b"2001:db8::1, 10.0.0.8, 10.0.0.9"]
    assert sent("Forwarded", line) == [line[1].encode()]


def test_only_x_forwarded_for_comes() -> None:
    line = ("X-Forwarded-For", "2001:db8::1, 10.0.0.8")
    assert sent("Forwarded", line, forwarded=("rfc7239",)) == [
        b'for="[2001:db8::1]", for=10.0.0.8, for=10.0.0.9;host=example.com;proto=http'
    ]


@pytest.mark.parametrize("first", ["x-forwarded", "rfc7239"])
def test_two_that_disagree(first: str) -> None:
    both = (first, "rfc7239" if first == "x-forwarded" else "x-forwarded")
    lines = (("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "for=2.2.2.2"))
    ip, _ = client(*lines, forwarded=both)
    assert ip == ("1.1.1.1" if first == "x-forwarded" else "2.2.2.2")
    (x,) = sent("X-Forwarded-For", *lines, forwarded=both)
    (rfc,) = sent("Forwarded", *lines, forwarded=both)
    assert x == f"{ip}, {PEER}".encode()
    assert rfc.startswith(f"for={ip}, for={PEER}".encode())


def test_two_that_agree_stay_as_they_are() -> None:
    lines = (("X-Forwarded-For", "9.9.9.9, 1.1.1.1"), ("Forwarded", "for=1.1.1.1;by=_a"))
    both = ("x-forwarded", "rfc7239")
    assert sent("X-Forwarded-For", *lines, forwarded=both) == [b"9.9.9.9, 1.1.1.1, 10.0.0.9"]
    assert sent("Forwarded", *lines, forwarded=both)[0].startswith(b"for=1.1.1.1;by=_a, for=")


# -- real_ip ---------------------------------------------------------------------------------------

CF = {"real_ip": "CF-Connecting-IP"}


def test_real_ip_comes_first() -> None:
    lines = (("cf-connecting-ip", "1.1.1.1"), ("X-Forwarded-For", "6.6.6.6, 2.2.2.2"))
    assert client(*lines, **CF) == ("1.1.1.1", 0)
    assert sent("X-Forwarded-For", *lines, **CF) == [b"1.1.1.1, 10.0.0.9"]
    assert sent("CF-Connecting-IP", *lines, **CF) == [b"1.1.1.1"]


@pytest.mark.parametrize("value", ["junk", "1.1.1.1, 2.2.2.2", ""])
def test_a_real_ip_that_is_none(value: str) -> None:
    lines = (("CF-Connecting-IP", value), ("X-Forwarded-For", "2.2.2.2"))
    assert client(*lines, **CF) == ("2.2.2.2", 0)


def test_two_real_ips_are_none() -> None:
    lines = (("CF-Connecting-IP", "1.1.1.1"), ("CF-Connecting-IP", "6.6.6.6"))
    assert client(*lines, **CF) == (PEER, 4711)


@pytest.mark.parametrize("name", ["CF-Connecting-IP", "cf_connecting-ip", "CF_CONNECTING_IP"])
def test_real_ip_of_a_stranger_is_removed(name: str) -> None:
    assert client((name, "1.1.1.1"), peer="9.9.9.9", **CF) == ("9.9.9.9", 4711)
    assert sent(name, (name, "1.1.1.1"), peer="9.9.9.9", **CF) == []
    assert sent("X-A", ("X-A", "b"), peer="9.9.9.9", **CF) == [b"b"]


def test_a_client_cannot_name_real_ip_away() -> None:
    lines = (("CF-Connecting-IP", "1.1.1.1"), ("X-Forwarded-For", "6.6.6.6"))
    head = request(headers=lines, nominated=(b"cf-connecting-ip", b"x-forwarded-for"))
    assert forwarder(**CF).client(PEER, head, "http")[0] == "1.1.1.1"


def test_without_the_key_the_header_is_an_ordinary_one() -> None:
    assert sent("X-Peer", ("X-Peer", "x"), peer="9.9.9.9") == [b"x"]
    assert sent("X-Peer", ("X-Peer", "x"), peer="9.9.9.9", real_ip="X-Peer") == []


@pytest.mark.parametrize("name", ["CF-Connecting-IP", "cf_ipcountry", "TRUE-CLIENT_IP"])
def test_headers_of_a_cdn_are_those_of_trusted_proxies(name: str) -> None:
    assert sent(name, (name, "1.1.1.1"), peer="9.9.9.9") == []
    assert sent(name, (name, "1.1.1.1")) == [b"1.1.1.1"]
    assert client((name, "1.1.1.1")) == (PEER, 4711), "only real_ip says that it is the client"
    head = request(headers=((name, "1.1.1.1"),), nominated=(name.lower().encode(),))
    forwarder().client(PEER, head, "http")
    assert head.header(name.encode()) == b"1.1.1.1", "no client names it away"


X9, F8, F9 = (
    ("X-Forwarded-For", "9.9.9.9"),
    ("Forwarded", "for=8.8.8.8"),
    ("Forwarded", "for=9.9.9.9"),
)


@pytest.mark.parametrize(
    ("keys", "lines", "name", "kept"),
    [
        ("x-forwarded", (X9, F8), "Forwarded", False),
        ("x-forwarded", (X9, F9), "Forwarded", True),
        ("x-forwarded", (("X-Forwarded-For", "junk"), F8), "Forwarded", False),
        ("x-forwarded", (F8,), "Forwarded", True),
        ("x-forwarded", (("Forwarded", "for=8.8.8.8;for=7.7.7.7"),), "Forwarded", False),
        ("x-forwarded", (("Forwarded", "for=8.8.8.8;;;="),), "Forwarded", False),
        ("rfc7239", (X9, F8), "X-Forwarded-For", False),
        ("rfc7239", (X9, F9), "X-Forwarded-For", True),
        ("rfc7239", (X9,), "X-Forwarded-For", True),
        ("none", (X9, F8), "X-Forwarded-For", False),
        ("none", (X9,), "X-Forwarded-For", True),
    ],
)
def test_a_header_that_is_not_appended_to_names_the_same_client_or_goes(
    keys: str, lines: tuple[tuple[str, str], ...], name: str, kept: bool
) -> None:
    assert bool(sent(name, *lines, forwarded=(keys,))) is kept


def test_real_ip_wins_over_headers_that_are_not_appended_to() -> None:
    lines = (("X-IP", "5.5.5.5"), ("Forwarded", "for=8.8.8.8"))
    assert client(*lines, real_ip="X-IP") == ("5.5.5.5", 0)
    assert sent("Forwarded", *lines, real_ip="X-IP") == []


@pytest.mark.parametrize("first", ["x-forwarded", "rfc7239"])
def test_the_header_that_is_read_names_nobody(first: str) -> None:
    x, other = ("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "for=2.2.2.2")
    if first == "x-forwarded":
        x, both = (x[0], "unknown"), ("x-forwarded", "rfc7239")
    else:
        other, both = (other[0], "for=unknown"), ("rfc7239", "x-forwarded")
    assert client(x, other, forwarded=both)[0] == PEER
    own = b"for=10.0.0.9;host=example.com;proto=http"
    if first == "x-forwarded":
        assert sent("X-Forwarded-For", x, other, forwarded=both) == [b"unknown, 10.0.0.9"]
        assert sent("Forwarded", x, other, forwarded=both) == [own]
    else:
        assert sent("X-Forwarded-For", x, other, forwarded=both) == [b"10.0.0.9"]
        assert sent("Forwarded", x, other, forwarded=both) == [b"for=unknown, " + own]
