"""TCP sessions with TLS towards clients, towards servers, both, or passed through."""

from __future__ import annotations

from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone

from lbproxy.net.clienthello import sniff
from lbproxy.testing import LB
from tests.proxy.bench import A, B, Bench, Make, TLSOrigin, origins
from tests.support import tls


def client_hello(sni: str, alpn: tuple[str, ...] = ()) -> bytes:
    """What OpenSSL sends first."""
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    connection.set_connect_state()
    if sni:
        connection.set_tlsext_host_name(sni.encode())
    if alpn:
        connection.set_alpn_protos([name.encode() for name in alpn])
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


@pytest.fixture
def pem(tmp_path: Path) -> str:
    return tls.write(tls.issue("db.example.com"), tmp_path)


def context(tmp_path: Path) -> SSL.Context:
    made = SSL.Context(SSL.TLS_CLIENT_METHOD)
    made.load_verify_locations(tls.ca_file(tmp_path))
    made.set_verify(SSL.VERIFY_PEER)
    return made


def test_tls_ends_here(make: Make, pem: str, tmp_path: Path) -> None:
    bench = make(listen=f"tls:9443 certificates={pem}")
    bench.lb.tcp_origin("a", A, "echo")
    client = bench.lb.connect("t", tls="db.example.com", context=context(tmp_path))
    client.send(b"x" * 300_000)
    assert len(client.received) == 300_000
    assert (bench.session.sni, bench.session.info.tls.version) == ("db.example.com", "TLSv1.3")
    client.close()
    assert client.closed and not client.reset
    assert (bench.last.close.value, bench.last.bytes_in) == ("ok", 300_000)


def test_a_handshake_that_fails_or_never_ends_is_refused(make: Make, pem: str) -> None:
    bench = make(listen=f"tls:9443 certificates={pem}", frontend="timeout_handshake = 3s")
    plain = bench.lb.connect("t")
    plain.send(b"GET / HTTP/1.0\r\n\r\n")
    assert plain.finished
    silent = bench.lb.connect("t")
    gone = bench.lb.connect("t")
    gone.abort()
    bench.lb.advance(2.9)
    assert not silent.closed
    bench.lb.advance(0.2)
    assert silent.closed
    assert bench.records == []
    assert bench.frontend.counters.refused == 3


def test_what_the_server_wrote_arrives_before_tls_closes(make: Make, pem: str) -> None:
    bench = make(listen=f"tls:9443 certificates={pem}", servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t", tls="db.example.com")
    client.pause()
    server = origin.connections[0]
    server.send(b"z" * 500_000)
    server.close()
    client.resume()
    bench.lb.advance(1)
    assert len(client.received) == 500_000
    assert client.closed and not client.reset
    assert bench.last.close.value == "ok"


def test_what_the_client_wrote_arrives_before_its_tls_closes(make: Make, pem: str) -> None:
    bench = make(listen=f"tls:9443 certificates={pem}", servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t", tls="db.example.com")
    server = origin.connections[0]
    server.pause()
    client.send(b"z" * 500_000)
    client.close()
    server.resume()
    bench.lb.advance(1)
    assert len(server.received) == 500_000
    assert server.finished
    assert bench.last.close.value == "ok"


def test_a_peer_that_reads_nothing_after_the_end_is_cut_off(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    client.pause()
    server = origin.connections[0]
    server.send(b"z" * 120_000)
    server.abort()
    bench.lb.advance(0.1)
    assert bench.last.close.value == "server_gone"
    client.resume()
    assert client.closed


def tls_server(folder: Path, more: str = "") -> str:
    return f"a {A} tls ca={tls.ca_file(folder)} sni=a.example {more}"


def test_tls_to_a_server(make: Make, tmp_path: Path) -> None:
    bench = make(servers=(tls_server(tmp_path),))
    origin = TLSOrigin(bench.lb.reactor, A, tmp_path, "a.example", handler="echo")
    client = bench.lb.connect("t")
    client.send(b"x" * 200_000)
    assert len(client.received) == 200_000
    client.close()
    bench.lb.advance(1)
    assert origin.connections[0].closed
    assert bench.closes == ["ok"]


def test_bytes_before_a_half_close_reach_a_tls_server(make: Make, tmp_path: Path) -> None:
    bench = make(servers=(tls_server(tmp_path),))
    origin = TLSOrigin(bench.lb.reactor, A, tmp_path, "a.example")
    client = bench.lb.connect("t")
    client.send(b"question" * 20_000)
    client.half_close()
    bench.lb.advance(1)
    assert origin.connections[0].received == b"question" * 20_000
    assert origin.connections[0].closed
    assert client.finished and not client.reset
    assert bench.closes == ["ok"]


@pytest.mark.parametrize("wrong", ["name", "authority", "plain"])
def test_a_server_that_cannot_prove_who_it_is_is_not_used(
    make: Make, tmp_path: Path, wrong: str
) -> None:
    bench = make(servers=(tls_server(tmp_path), f"b {B}"))
    if wrong == "plain":
        bench.lb.tcp_origin("a", A, lambda data: b"what?\r\n")
    else:
        name = "other.example" if wrong == "name" else "a.example"
        TLSOrigin(bench.lb.reactor, A, tmp_path, name, trusted=wrong != "authority")
    bench.lb.tcp_origin("b", B, "echo")
    for _ in range(2):
        client = bench.lb.connect("t")
        client.send(b"secret")
        assert client.received == b"secret"
        client.close()
    assert {record.server_name for record in bench.records} == {"b"}
    a = bench.server("a")
    assert a.counters.connect_errors >= 1
    assert a.counters.failed >= 1


def test_nobody_left_after_tls_failures(make: Make, tmp_path: Path) -> None:
    bench = make(servers=(tls_server(tmp_path),), backend="retries = 0")
    TLSOrigin(bench.lb.reactor, A, tmp_path, "other.example")
    client = bench.lb.connect("t")
    assert client.closed
    assert bench.closes == ["server_tls"]
    assert "other.example" in bench.last.detail or "a.example" in bench.last.detail


def test_a_tls_handshake_with_a_server_has_the_connect_deadline(make: Make, tmp_path: Path) -> None:
    bench = make(servers=(tls_server(tmp_path),), backend="timeout_connect = 2s\nretries = 0")
    bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t")
    bench.lb.advance(1.9)
    assert not client.closed
    bench.lb.advance(0.2)
    assert client.closed
    assert bench.closes == ["connect_timeout"]


ROUTED = f"""
    [frontend t]
    mode = tcp
    listen = tcp:9000
    timeout_handshake = 5s
    routes =
        alpn postgresql -> pg
        sni *.b.example -> b
        default -> raw
    [backend raw]
    servers = a {A}
    [backend b]
    servers = b {B}
    [backend pg]
    servers = pg 10.0.0.9:5432
"""


def routed() -> Bench:
    bench = Bench.of(ROUTED)
    for name, address in (("a", A), ("b", B), ("pg", "10.0.0.9:5432")):
        bench.lb.tcp_origin(name, address, lambda data: None)
    return bench


@pytest.mark.parametrize("step", [1, 7, 5000])
@pytest.mark.parametrize(
    ("sni", "alpn", "where"),
    [
        ("x.b.example", (), "b"),
        ("x.c.example", (), "a"),
        ("x.b.example", ("postgresql",), "pg"),
        ("", (), "a"),
    ],
)
def test_tls_passed_through_by_name_keeps_its_hello(
    sni: str, alpn: tuple[str, ...], where: str, step: int
) -> None:
    bench = routed()
    hello = client_hello(sni=sni, alpn=alpn)
    client = bench.lb.connect("t")
    for start in range(0, len(hello), step):
        client.send(hello[start : start + step])
    client.send(b"and more")
    origin = bench.lb.origins[where]
    assert origin.connections[0].received == hello + b"and more"  # type: ignore[union-attr]
    assert sniff(hello) is not None
    client.close()
    assert bench.last.sni == sni
    bench.close()


def test_what_is_not_tls_takes_the_default_route() -> None:
    bench = routed()
    client = bench.lb.connect("t")
    client.send(b"EHLO example.com\r\n")
    assert bench.lb.origins["a"].connections[0].received == b"EHLO example.com\r\n"  # type: ignore[union-attr]
    client.close()
    silent = bench.lb.connect("t")
    bench.lb.advance(5.1)
    assert silent.closed
    bench.close()


def test_a_client_that_leaves_in_the_middle_of_its_hello() -> None:
    bench = routed()
    client = bench.lb.connect("t")
    client.send(client_hello(sni="x.b.example", alpn=())[:50])
    client.abort()
    assert bench.records == []
    assert bench.frontend.counters.refused == 1
    bench.close()


def test_a_balancer_that_wants_the_name_gets_it(make: Make) -> None:
    bench = make(backend="balance = hash sni")
    a, b = origins(bench)
    used = set()
    for number in range(20):
        for _ in range(2):
            client = bench.lb.connect("t")
            client.send(client_hello(sni=f"s{number}.example", alpn=()))
            client.close()
        assert bench.records[-1].server_name == bench.records[-2].server_name
        used.add(bench.last.server_name)
    assert used == {"a", "b"}
    assert a.accepted + b.accepted == 40


def test_a_stop_ends_handshakes_and_looks(pem: str) -> None:
    bench = Bench(
        LB.from_config(
            f"""
            [frontend t]
            mode = tcp
            listen =
                tls:9443 certificates={pem}
                tcp:9000 accept_proxy=10.0.0.0/8
            backend = raw
            [backend raw]
            servers = a {A}
            """
        )
    )
    one = bench.lb.connect("127.0.0.1:9443")
    one.send(b"\x16\x03\x01")
    two = bench.lb.connect("127.0.0.1:9000", client="10.1.1.1")
    assert len(bench.frontend.clients) == 2
    done: list[object] = []
    bench.lb.service.stopService().addCallback(done.append)
    bench.lb.reactor.pump()
    assert one.closed and two.closed
    assert done
    assert {kind.value: n for kind, n in bench.frontend.counters.closes.items()} == {"shutdown": 2}
    bench.close()


def test_what_came_before_a_close_without_close_notify_arrives(make: Make, pem: str) -> None:
    bench = make(listen=f"tls:9443 certificates={pem}", servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    client = bench.lb.connect("t", tls="db.example.com")
    client.send(b"first")
    server = origin.connections[0]
    server.pause()
    client.send(b"y" * 200_000)
    client.transport.transport.loseConnection()  # type: ignore[union-attr]  # the socket, not the TLS on it
    bench.lb.advance(0.1)
    server.resume()
    bench.lb.advance(1)
    assert server.received == b"first" + b"y" * 200_000
    assert server.finished
    assert server.reason is None or server.reason.check(ConnectionDone)
    assert bench.last.close.value == "client_gone", "and yet it is no clean end"
    server.close()
