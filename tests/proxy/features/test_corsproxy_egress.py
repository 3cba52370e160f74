"""``[egress NAME]`` and ``colo=``: names, ways by proxies and by another lbproxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

pytest.importorskip("ada_url")

from lbproxy.config.errors import ConfigErrors
from lbproxy.config.masking import masked
from lbproxy.guard import AllowedTarget
from lbproxy.http.message import RequestHead
from lbproxy.proxy.features.corsproxy.egress import EgressSpec
from lbproxy.proxy.features.corsproxy.heads import hop_request
from lbproxy.testing import LB, LoadBalancerFixture, Response

TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
{more}
[frontend cors]
mode = corsproxy
listen = tcp:8090
open = yes
{keys}
"""
Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    made = []

    def start(more: str = "", keys: str = "") -> LoadBalancerFixture:
        lb = LB.from_config(TEXT.format(more=more, keys=keys))
        made.append(lb)
        lb.reactor.resolver.table["api.example.com"] = ["10.1.0.1"]
        lb.reactor.resolver.table["inside.example.com"] = ["10.2.0.1"]
        lb.reactor.resolver.table["proxy.internal"] = ["10.9.0.1"]
        return lb

    yield start
    for lb in made:
        lb.close()


def call(lb: LoadBalancerFixture, colo: str = "", host: str = "api.example.com") -> Response:
    more = f"&colo={colo}" if colo else ""
    target = f"http://proxy:8090/?url={quote(f'http://{host}/', safe='')}{more}"
    return lb.get(target, headers={"Origin": "https://app.example.com"})


PROXY = "[egress fra]\nproxy = http://proxy.internal:3128\nalias = ams cdg"


def test_without_exits_every_name_is_the_direct_way(make: Make) -> None:
    lb = make()
    lb.origin("api", "10.1.0.1:80")
    assert call(lb, "anything").status == 200
    assert b"has no effect" in lb.get("http://proxy:8090/status").body


def test_a_name_that_is_no_exit(make: Make) -> None:
    lb = make(PROXY)
    lb.origin("api", "10.1.0.1:80")
    assert call(lb).status == 200
    refused = call(lb, "xyz")
    assert refused.status == 400
    assert b"there is no exit 'xyz'; there are fra" in refused.body
    page = lb.get("http://proxy:8090/status").body
    assert b"<td>fra<td>ams, cdg<td>proxy" in page
    assert b"proxy.internal" not in page


@pytest.mark.parametrize("key", ["api_key", "proxy_password"])
def test_credentials_of_an_exit_are_not_shown(key: str) -> None:
    spec = EgressSpec(name="a", **{key: "HUSH"})
    assert getattr(masked(spec), key) == "***"
    assert "HUSH" not in str(spec)


@pytest.mark.parametrize("colo", ["fra", "AMS"])
def test_a_proxy_is_asked_for_the_judged_address(make: Make, colo: str) -> None:
    lb = make(PROXY)
    direct = lb.origin("api", "10.1.0.1:80")
    proxy = lb.tcp_origin("proxy", "10.9.0.1:3128")
    client = lb.connect("cors")
    client.send(
        b"GET /?url=http://api.example.com/x&colo=%b HTTP/1.1\r\nHost: p\r\n\r\n" % colo.encode()
    )
    server = proxy.connections[-1]
    assert bytes(server.received).startswith(b"CONNECT 10.1.0.1:80 HTTP/1.1\r\n")
    server.received = b""
    server.send(b"HTTP/1.1 200 OK\r\n\r\n")
    assert bytes(server.received).startswith(b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n")
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.take().endswith(b"ok")
    assert direct.accepted == 0
    server.received = b""
    client.send(b"GET /?url=http://api.example.com/y&colo=fra HTTP/1.1\r\nHost: p\r\n\r\n")
    assert bytes(server.received).startswith(b"GET /y HTTP/1.1\r\n")  # the same connection


def test_a_refused_target_is_not_asked_for(make: Make) -> None:
    lb = make(PROXY)
    proxy = lb.tcp_origin("proxy", "10.9.0.1:3128")
    assert call(lb, "fra", "inside.example.com").status == 403
    assert proxy.connections == []


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 No\r\n\r\n", b"nonsense\r\n\r\n", None])
def test_a_proxy_that_refuses(make: Make, answer: bytes | None) -> None:
    lb = make(PROXY)
    proxy = lb.tcp_origin("proxy", "10.9.0.1:3128")
    client = lb.connect("cors")
    client.send(b"GET /?url=http://api.example.com/&colo=fra HTTP/1.1\r\nHost: p\r\n\r\n")
    server = proxy.connections[-1]
    if answer is None:
        lb.advance(6.0)
    else:
        server.send(answer)
    assert client.take().startswith(b"HTTP/1.1 504 " if answer is None else b"HTTP/1.1 502 ")
    assert server.closed or server.finished


def test_each_address_of_a_proxy_is_tried(make: Make) -> None:
    """``localhost`` is often ::1 and 127.0.0.1, and the proxy listens on one of them."""
    lb = make(PROXY)
    lb.reactor.resolver.table["proxy.internal"] = ["10.9.0.2", "10.9.0.3", "10.9.0.1"]
    client = lb.connect("cors")
    request = b"GET /?url=http://api.example.com/&colo=fra HTTP/1.1\r\nHost: p\r\n\r\n"
    client.send(request)
    lb.advance(0.1)
    assert client.take().startswith(b"HTTP/1.1 502 ")
    proxy = lb.tcp_origin("proxy", "10.9.0.1:3128")
    client.send(request)
    lb.advance(0.1)
    assert proxy.connections[-1].received.startswith(b"CONNECT 10.1.0.1:80 ")


def test_a_client_that_leaves_ends_the_conversation(make: Make) -> None:
    lb = make(PROXY)
    proxy = lb.tcp_origin("proxy", "10.9.0.1:3128")
    client = lb.connect("cors")
    client.send(b"GET /?url=http://api.example.com/&colo=fra HTTP/1.1\r\nHost: p\r\n\r\n")
    client.close()
    assert proxy.connections[-1].closed


def test_socks_is_the_default_of_a_frontend(make: Make) -> None:
    lb = make("[egress s]\nproxy = socks5://10.9.0.1", "egress = s")
    proxy = lb.tcp_origin("proxy", "10.9.0.1:1080")
    client = lb.connect("cors")
    client.send(b"GET /?url=http://api.example.com/ HTTP/1.1\r\nHost: p\r\n\r\n")
    server = proxy.connections[-1]
    assert bytes(server.received) == b"\x05\x01\x00"
    server.received = b""
    server.send(b"\x05\x00")
    assert bytes(server.received) == b"\x05\x01\x00\x01\x0a\x01\x00\x01\x00\x50"
    server.received = b""
    server.send(b"\x05\x00\x00\x01" + bytes(6))
    assert bytes(server.received).startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("more", "keys", "words"),
    [
        ("[egress a]", "", "exactly one of"),
        ("[egress a]\nsource = 192.0.2.1\nproxy = http://a:1", "", "exactly one of"),
        ("[egress a]\nsource = name", "", "does not appear to be"),
        ("[egress a]\nproxy = ftp://a:1", "", "no such exit"),
        ("[egress a]\nlbproxy = http://a", "", "no such exit"),
        ("[egress a]\nproxy = http://u:p@a:1", "", "not SCHEME://HOST:PORT"),
        ("[egress a]\nsource = 192.0.2.1\napi_key = x", "", "for exits by lbproxy"),
        (
            "[egress a]\nsource = 192.0.2.1\nalias = b\n[egress B]\nsource = 192.0.2.1",
            "",
            "two exits have the name",
        ),
        ("", "egress = a", "no .egress a."),
        ("[egress a]\nsource = 192.0.2.1\nkey_header = X", "", "for exits by lbproxy"),
        ("[egress a]\nlbproxy = https://a\ntarget_header = a b", "", "not the name of a header"),
    ],
)
def test_mistakes(make: Make, more: str, keys: str, words: str) -> None:
    with pytest.raises(ConfigErrors, match=words):
        make(more, keys)


def test_the_guard_knows_where_lbproxy_really_listens(make: Make) -> None:
    lb = make("admin = tcp:8404:interface=127.0.0.1")
    found = {(one.host, one.port) for one in lb.service.network.listening()}
    assert found == {("", 8090), ("127.0.0.1", 8404)}


def test_the_call_of_another_lbproxy_has_its_names_of_headers() -> None:
    spec = EgressSpec(
        name="a", lbproxy="https://a", api_key="K", key_header="X-Token", target_header="X-Go"
    )
    request = RequestHead(b"GET", b"/x", [(b"x-go", b"evil"), (b"X-Token", b"t"), (b"A", b"b")])
    target = AllowedTarget("http", "api.example.com", 80, "/x")
    hop = AllowedTarget("https", "far.example.com", 443, "/")
    sent = hop_request(request, target, hop, spec)
    assert sorted(sent.pairs()) == [
        (b"A", b"b"),
        (b"X-Go", b"http://api.example.com/x"),
        (b"X-Token", b"K"),
    ]
    assert (sent.target, sent.host) == (b"/", b"far.example.com")
