"""Forwarding: hop-by-hop fields, X-Forwarded-*, Forwarded, Via, and whom to believe."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.config.model import FrontendSpec
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.forward import MAX_HOPS, MAX_LOOPS, PROTECTED, Forwarder
from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.known import field_name
from lbproxy.http.message import Headers, Limits, RequestHead, ResponseHead, header_pairs
from tests.http.traffic import request

PEER = "10.0.0.9"


def forwarder(*trusted: str, **keys: Any) -> Forwarder:
    networks = tuple(ip_network(text) for text in trusted)
    return Forwarder(FrontendSpec(name="web", trusted_proxies=networks, **keys))


def sent(fwd: Forwarder, head: RequestHead, peer: str = PEER, **keys: Any) -> Headers:
    """What a server gets from a request of ``peer``."""
    _, _, scheme = fwd.client(peer, head, "http")
    arguments: dict[str, Any] = {"client_ip": peer, "client_port": 4711, "local_port": 80, **keys}
    return fwd.server_request(head, scheme=scheme, **arguments).headers


def values(headers: Headers, name: str) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name.lower().encode()]


def test_plain_request() -> None:
    head = request("/", "a.example:8080", headers=(("Accept", "*/*"), ("Connection", "close")))
    assert sent(forwarder(), head) == [
        (b"Host", b"a.example:8080"),
        (b"Accept", b"*/*"),
        (b"X-Forwarded-For", b"10.0.0.9"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"a.example:8080"),
        (b"X-Forwarded-Port", b"80"),
        (b"Via", b"1.1 lbproxy"),
    ]


HOP = [
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Transfer-Encoding",
    "Upgrade",
    "Proxy-Authorization",
    "Proxy-Authenticate",
    "HTTP2-Settings",
    "TE",
    "Content-Length",
]


@pytest.mark.parametrize("name", HOP)
@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
def test_hop_by_hop(name: str, spell: Any) -> None:
    head = request(headers=((spell(name), "x"), ("X-Kept", "1")))
    out = sent(forwarder(), head)
    assert values(out, name) == []
    assert values(out, "X-Kept") == [b"1"]
    response = ResponseHead(200, header_pairs([(spell(name), "x"), ("X-Kept", "1")]), length=5)
    back = forwarder().response(response, client_version=11).headers
    assert values(back, name) == [] and values(back, "X-Kept") == [b"1"]


@pytest.mark.parametrize("name", ["Content_Length", "Transfer_Encoding", "CONTENT_length"])
def test_framing_in_disguise(name: str) -> None:
    head = request("/", headers=((name, "5"), ("Content_Type", "text/plain")))
    out = sent(forwarder(), head)
    assert not values(out, name)
    assert values(out, "Content_Type") == [b"text/plain"]


def test_te_trailers_and_no_upgrade() -> None:
    """The codec writes Upgrade, where the switch may pass."""
    lines = (("TE", "gzip, trailers"), ("Upgrade", "websocket"), ("Trailer", "X-Sum"))
    out = sent(forwarder(), request(headers=lines))
    assert values(out, "TE") == [b"trailers"]
    assert values(out, "Upgrade") == []
    assert values(out, "Trailer") == [b"X-Sum"]


@pytest.mark.parametrize(
    ("te", "connection", "version", "sent_on"),
    [
        ("trailers", "Connection: TE\r\n", 11, True),
        ("Trailers", "Connection: TE\r\n", 11, True),
        ("gzip;q=0.5, trailers", "Connection: TE\r\n", 11, True),
        ("trailers", "", 11, True),
        ("gzip", "Connection: TE\r\n", 11, False),
        ("trailers;q=0", "Connection: TE\r\n", 11, False),
        ("x-trailers", "Connection: TE\r\n", 11, False),
        ("trailers", "Connection: TE\r\n", 10, False),
    ],
)
def test_a_client_that_accepts_trailers(
    te: str, connection: str, version: int, sent_on: bool
) -> None:
    """RFC 9110 §7.6.1: the semantics of TE apply whether or not Connection names it; then it is
    replaced.  An HTTP/1.0 client gets no trailers.
    """
    start = f"GET / HTTP/{version / 10}\r\nHost: a\r\nTE: {te}\r\n{connection}\r\n"
    head = RequestParser(Limits()).receive(start.encode())[0]
    assert isinstance(head, RequestHead)
    fwd = forwarder()
    fwd.client(PEER, head)
    assert values(sent(fwd, head), "TE") == ([b"trailers"] if sent_on else [])


def test_nominated_fields() -> None:
    lines = (("X-Once", "1"), ("Cookie", "a=b"), ("Authorization", "x"), ("X-Kept", "2"))
    named = (b"x-once", b"cookie", b"authorization", b"host", b"x-forwarded-for", b"via")
    head = request(headers=lines, nominated=named)
    fwd = forwarder()
    out = sent(fwd, head)
    assert values(out, "X-Once") == []
    for name in ("Cookie", "Authorization", "X-Kept", "Host", "X-Forwarded-For", "Via"):
        assert len(values(out, name)) == 1, name


def test_thousands_of_nominated_fields_are_removed_in_one_pass() -> None:
    named = b",".join(b"h%d" % number for number in range(4000))
    there = [(b"H%d" % number, b"v") for number in range(0, 9000, 100)]
    fields = b"".join(b"%b: %b\r\n" % pair for pair in there)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + named + b"\r\n" + fields + b"\r\n"
    head = RequestParser(Limits()).receive(raw)[0]
    assert isinstance(head, RequestHead)
    fwd = forwarder()
    fwd.client(PEER, head)
    assert head.listed  # not name by name, each through all lines
    assert [pair for pair in head.pairs() if pair[1] == b"v"] == there[40:]
    assert [pair for pair in sent(fwd, head) if pair[1] == b"v"] == there[40:]


def test_the_place_of_a_line_that_this_hop_adds() -> None:
    head = RequestParser(Limits()).receive(b"GET / HTTP/1.1\r\nHost: a\r\nReferer: x\r\n\r\n")[0]
    assert isinstance(head, RequestHead)
    out = forwarder().server_request(head, client_ip=PEER, scheme="http")
    name = field_name(b"via")
    assert head.place(name) == -1
    assert out.place(name) == -2 and out.first(name) == b"1.1 lbproxy"


def test_what_a_filter_adds_cannot_be_nominated_away() -> None:
    head = request(headers=(("X-User", "forged"),), nominated=(b"x-user",))
    fwd = forwarder()
    fwd.client(PEER, head)
    head.set_header(b"X-User", b"alice")
    out = fwd.server_request(head, client_ip=PEER, scheme="http").headers
    assert values(out, "X-User") == [b"alice"]


def test_a_nominated_field_behind_many_others() -> None:
    lines = b"".join(b"A%d: v\r\n" % number for number in range(70)) + b"X-A: 1\r\n"
    parser = ResponseParser(Limits())
    parser.begin(b"GET")
    raw = b"HTTP/1.1 200 OK\r\nConnection: x-a\r\nContent-Length: 0\r\n" + lines + b"\r\n"
    response = parser.receive(raw)[0]
    assert isinstance(response, ResponseHead)
    out = forwarder().response(response)
    assert out.header(b"X-A") is None and out.header(b"A69") == b"v"
    assert out.header_values(b"Via") == [b"1.1 lbproxy"]
    assert response.header(b"X-A") == b"1"


def test_nominated_response_fields() -> None:
    response = ResponseHead(
        200, header_pairs([("X-A", "1"), ("Set-Cookie", "c")]), nominated=(b"x-a", b"set-cookie")
    )
    out = forwarder().response(response, client_version=11).headers
    assert values(out, "X-A") == [] and values(out, "Set-Cookie") == [b"c"]


SPOOFS = (
    ("X-Forwarded-For", "6.6.6.6"),
    ("x-forwarded-proto", "https"),
    ("X-Forwarded-Host", "evil"),
    ("X_Forwarded_For", "6.6.6.6"),
    ("X-Forwarded_For", "6.6.6.6"),
    ("X-Real-IP", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6"),
    ("X-Forwarded-Prefix", "/evil"),
)


@pytest.mark.parametrize("forwarded", [("x-forwarded",), ("rfc7239",), ("none",)])
def test_a_stranger_claims_nothing(forwarded: tuple[str, ...]) -> None:
    head = request(headers=SPOOFS)
    fwd = forwarder("192.168.0.0/16", forwarded=forwarded)
    assert fwd.client(PEER, head, "http") == (PEER, 0, "http")
    assert [name for name, _ in head.headers] == [b"Host"]
    out = fwd.server_request(head, client_ip=PEER, scheme="http").headers
    text = b" ".join(value for _, value in out)
    assert b"6.6.6.6" not in text and b"evil" not in text and b"https" not in text


def test_a_trusted_proxy_is_appended_to() -> None:
    head = request(
        headers=(
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-Forwarded-For", "10.0.0.8"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"),
        )
    )
    fwd = forwarder("10.0.0.0/8")
    assert fwd.client(PEER, head, "http") == ("1.2.3.4", 0, "https")
    out = fwd.server_request(head, client_ip=PEER, scheme="https", local_port=8080).headers
    assert values(out, "X-Forwarded-For") == [b"1.2.3.4, 10.0.0.8, 10.0.0.9"]
    assert values(out, "X-Forwarded-Proto") == [b"https"]
    assert values(out, "X-Forwarded-Host") == [b"shop.example"]
    assert values(out, "X-Forwarded-Port") == [b"8080"]


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ((), (PEER, "http")),
        ((("X-Forwarded-For", "1.1.1.1, 2.2.2.2"),), ("2.2.2.2", "http")),
        ((("X-Forwarded-For", "1.1.1.1, 10.0.0.2, 10.0.0.3"),), ("1.1.1.1", "http")),
        ((("X-Forwarded-For", "10.0.0.1, 10.0.0.2"),), ("10.0.0.1", "http")),
        ((("X-Forwarded-For", "1.1.1.1, junk"),), (PEER, "http")),
        ((("X-Forwarded-For", "1.1.1.1, ~"),), (PEER, "http")),
        ((("X-Forwarded-For", "1.1.1.1, , \t"),), ("1.1.1.1", "http")),
        ((("X-Forwarded-For", "1.1.1.1, junk, 10.0.0.2"),), ("10.0.0.2", "http")),
        ((("X-Forwarded-For", ""),), (PEER, "http")),
        ((("X-Forwarded-For", "1.1.1.1:555"),), ("1.1.1.1", "http")),
        ((("X-Forwarded-For", "[2001:db8::7]:555"),), ("2001:db8::7", "http")),
        ((("X-Forwarded-For", "2001:db8::7"),), ("2001:db8::7", "http")),
        ((("X-Forwarded-For", "unknown"), ("X-Forwarded-Proto", "https")), (PEER, "https")),
        ((("X-Forwarded-Proto", "gopher"),), (PEER, "http")),
        ((("X-Forwarded-Proto", "https"),), (PEER, "https")),
        ((("X-Forwarded-Proto", "WS"),), (PEER, "http")),
        ((("X-Forwarded-Proto", "http, wss"),), (PEER, "https")),
        ((("Forwarded", 'for="[2001:db8::7]:99";proto=https'),), ("2001:db8::7", "https")),
        ((("Forwarded", "for=1.1.1.1, For=10.0.0.2;Proto=https"),), ("1.1.1.1", "https")),
        ((("Forwarded", "for=_hidden"),), (PEER, "http")),
        ((("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "2.2.2.2")), ("2.2.2.2", "http")),
    ],
)
def test_the_client_behind_trusted_proxies(
    lines: tuple[tuple[str, str], ...], wanted: tuple[str, str]
) -> None:
    ip, _, scheme = forwarder("10.0.0.0/8").client(PEER, request(headers=lines), "http")
    assert (ip, scheme) == wanted


@pytest.mark.parametrize("before", ["1.2.3.4,", "1.2.3.4 , ,"])
def test_no_empty_hop_is_sent(before: str) -> None:
    head = request(headers=(("X-Forwarded-For", before),))
    out = sent(forwarder("10.0.0.0/8"), head)
    assert values(out, "X-Forwarded-For") == [b"1.2.3.4, 10.0.0.9"]


def test_forwarded_first_where_it_is_written() -> None:
    lines = (("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "2.2.2.2"))
    fwd = forwarder("10.0.0.0/8", forwarded=("rfc7239",))
    assert fwd.client(PEER, request(headers=lines))[0] == "1.1.1.1"


def test_the_search_is_bounded() -> None:
    chain = ", ".join(["1.1.1.1", *(["10.0.0.1"] * MAX_HOPS)])
    head = request(headers=(("X-Forwarded-For", chain),))
    assert forwarder("10.0.0.0/8").client(PEER, head)[0] == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "port", "host", "wanted"),
    [
        ("192.0.2.1", 0, "a.example", b"for=192.0.2.1;host=a.example;proto=http"),
        ("192.0.2.1", 99, "a:81", b'for="192.0.2.1:99";host="a:81";proto=http'),
        ("2001:db8::1", 0, "[::1]", b'for="[2001:db8::1]";host="[::1]";proto=http'),
        ("fe80::1%eth0", 99, "a", b'for="[fe80::1]:99";host=a;proto=http'),
        ("", 0, "", b"for=unknown;proto=http"),
    ],
)
def test_rfc7239(peer: str, port: int, host: str, wanted: bytes) -> None:
    fwd = forwarder(forwarded=("rfc7239",))
    out = sent(fwd, request("/", host), peer, client_port=port)
    assert values(out, "Forwarded") == [wanted]
    assert values(out, "X-Forwarded-For") == []


def test_rfc7239_appends() -> None:
    fwd = forwarder("10.0.0.0/8", forwarded=("x-forwarded", "rfc7239"))
    head = request(headers=(("Forwarded", "for=1.1.1.1"),))
    out = sent(fwd, head, client_port=0)
    wanted = b"for=1.1.1.1, for=10.0.0.9;host=example.com;proto=http"
    assert values(out, "Forwarded") == [wanted]
    assert values(out, "X-Forwarded-For") == [b"1.1.1.1, 10.0.0.9"]


def test_none_adds_nothing_and_passes_a_trusted_proxy() -> None:
    fwd = forwarder("10.0.0.0/8", forwarded=("none",), via="none")
    head = request(headers=(("X-Forwarded-For", "1.1.1.1"), ("Via", "1.1 other")))
    assert sent(fwd, head) == [
        (b"Host", b"example.com"),
        (b"X-Forwarded-For", b"1.1.1.1"),
        (b"Via", b"1.1 other"),
    ]


def test_empty_lines_say_nothing() -> None:
    names = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port")
    head = request(headers=tuple((name, "") for name in (*names, "Via", "Forwarded")))
    fwd = forwarder("10.0.0.0/8", forwarded=("x-forwarded", "rfc7239"))
    assert sent(fwd, head) == sent(fwd, request())


def test_unix_client_has_no_address() -> None:
    out = sent(forwarder(), request(), "")
    assert values(out, "X-Forwarded-For") == []
    assert values(out, "X-Forwarded-Proto") == [b"http"]


def test_what_a_filter_says_about_the_client_stays() -> None:
    fwd = forwarder()
    head = request(headers=(("X-Forwarded-Proto", "ftp"),))
    fwd.client(PEER, head)
    head.set_header(b"X-Forwarded-Proto", b"https")
    head.set_header(b"X-Real-IP", b"10.0.0.9")
    out = fwd.server_request(head, client_ip=PEER, scheme="http").headers
    assert values(out, "X-Forwarded-Proto") == [b"https"]
    assert values(out, "X-Real-IP") == [b"10.0.0.9"]


def test_host_header() -> None:
    head = request("/", "a.example")
    out = sent(forwarder(), head, host_header=b"b.example")
    assert values(out, "Host") == [b"b.example"]
    assert values(out, "X-Forwarded-Host") == [b"a.example"]


@pytest.mark.parametrize(("version", "wanted"), [(10, b"1.0"), (11, b"1.1"), (20, b"2.0")])
def test_via(version: int, wanted: bytes) -> None:
    head = request(headers=(("Via", "1.1 a"), ("via", "1.0 b (c)")), version=version)
    assert values(sent(forwarder(), head), "Via") == [b"1.1 a, 1.0 b (c), " + wanted + b" lbproxy"]
    response = ResponseHead(200, header_pairs([("Via", "1.1 a")]), version=version)
    back = forwarder(via="edge").response(response, client_version=11).headers
    assert values(back, "Via") == [b"1.1 a, " + wanted + b" edge"]


def test_loops() -> None:
    fwd = forwarder()
    passes = ", ".join(["1.1 other", "1.1 lbproxyx", *["1.1 LBproxy (x)"] * (MAX_LOOPS - 1)])
    head = request(headers=(("Via", passes),))
    assert not fwd.loop_detected(head)
    sent(fwd, head)
    loops = request(headers=(("Via", passes), ("Via", "1.1 lbproxy")))
    assert fwd.loop_detected(loops)
    with pytest.raises(ProxyError) as caught:
        sent(fwd, loops)
    assert (caught.value.kind, caught.value.status) == (Kind.LOOP_DETECTED, 508)
    assert not fwd.loop_detected(request())
    assert not forwarder(via="none").loop_detected(loops)


def test_server_header() -> None:
    response = ResponseHead(200, header_pairs([("Server", "x")]))
    assert values(forwarder().response(response).headers, "Server") == [b"x"]
    hiding = forwarder(server_header="remove")
    assert values(hiding.response(response).headers, "Server") == []


@pytest.mark.parametrize(
    ("status", "length", "kept"),
    [
        (200, 0, True),
        (304, 0, True),
        (200, 5, False),
        (200, None, False),
        (204, 0, False),
        (103, 0, False),
    ],
)
def test_content_length_of_a_body_not_sent(status: int, length: int | None, kept: bool) -> None:
    response = ResponseHead(status, header_pairs([("Content-Length", "5")]), length=length)
    out = forwarder().response(response, client_version=11).headers
    assert values(out, "Content-Length") == ([b"5"] if kept else [])


def test_trailer_not_for_http10() -> None:
    response = ResponseHead(200, header_pairs([("Trailer", "X-Sum")]), length=None)
    assert values(forwarder().response(response, client_version=11).headers, "Trailer") == [
        b"X-Sum"
    ]
    assert values(forwarder().response(response, client_version=10).headers, "Trailer") == []


def test_switching_protocols() -> None:
    response = ResponseHead(101, header_pairs([("Upgrade", "websocket")]), upgrade=b"websocket")
    assert values(forwarder().response(response).headers, "Upgrade") == [b"websocket"]


NAMES = st.sampled_from(
    [*HOP, *(name for name, _ in SPOOFS), "X-A", "Accept", "Cookie", "Via", "Trailer", "Set-Cookie"]
)
LINES = st.lists(st.tuples(NAMES, st.sampled_from(["x", "1.2.3.4", "trailers", ""])), max_size=12)
GONE = {name.lower().encode() for name in HOP} - {b"te"}


@given(LINES, st.lists(NAMES, max_size=3), st.sampled_from([PEER, "1.1.1.1", ""]))
def test_properties(lines: Any, nominated: list[str], peer: str) -> None:
    fwd = forwarder("10.0.0.0/8", forwarded=("x-forwarded", "rfc7239"))
    named = tuple(name.lower().encode() for name in nominated)
    head = request(headers=tuple(lines), nominated=named)
    fwd.client(peer, head, "http")
    before = list(head.headers)
    out = fwd.server_request(head, client_ip=peer, scheme="http", local_port=80).headers
    assert head.headers == before
    lower = [name.lower() for name, _ in out]
    assert not GONE & set(lower)
    assert not (set(named) - PROTECTED - {b"te", b"forwarded"}) & set(lower)
    for name in (b"host", b"via", b"x-forwarded-proto", b"forwarded"):
        assert lower.count(name) == 1
    # end-to-end fields keep their order, values and number
    mine = {b"x-a", b"accept", b"cookie", b"trailer"} - (set(named) - PROTECTED)
    assert [pair for pair in out if pair[0].lower() in mine] == [
        pair for pair in header_pairs(lines) if pair[0].lower() in mine
    ]
    # a second attempt sends the same
    assert fwd.server_request(head, client_ip=peer, scheme="http", local_port=80).headers == out


@given(LINES)
def test_response_properties(lines: Any) -> None:
    response = ResponseHead(200, header_pairs(lines), length=7)
    fwd = forwarder(via="none")
    out = fwd.response(response).headers
    assert not (GONE | {b"te"}) & {name.lower() for name, _ in out}
    assert fwd.response(ResponseHead(200, list(out), length=7)).headers == out
