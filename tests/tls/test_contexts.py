"""Contexts of both sides, shaking hands in memory: what is chosen, and what must fail."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from zope.interface.verify import verifyObject

from lbproxy.config.model import Address, CertificateSpec, ListenSpec, ServerSpec, Where
from lbproxy.tls.certificates import CertificateError, KeyPair, load, self_signed
from lbproxy.tls.clientcontext import full_handshakes
from lbproxy.tls.contexts import (
    ClientContextFactory,
    ServerContextFactory,
    client_contexts,
    listener_pairs,
    server_contexts,
)
from lbproxy.tls.errorwords import tls_error_text
from lbproxy.tls.parameters import TLSParameters
from lbproxy.tls.servercontext import NoCommonProtocol
from tests.support.tls import authority, ca_file, issue, pair, write


def shake(client: SSL.Connection, server: SSL.Connection) -> None:
    """Run both sides until both have finished; what one of them raises is raised."""
    sides = [(client, server), (server, client)]
    done: set[int] = set()
    for _ in range(20):
        for near, far in sides:
            try:
                near.do_handshake()
                done.add(id(near))
            except SSL.WantReadError:
                pass
            finally:
                with contextlib.suppress(SSL.WantReadError):
                    far.bio_write(near.bio_read(65536))
        if len(done) == 2:
            return
    raise AssertionError("the handshake does not end")


def connect(
    client: ClientContextFactory, server: ServerContextFactory
) -> tuple[SSL.Connection, SSL.Connection]:
    near, far = client.connection_for_socket(), server.connection_for_socket()
    shake(near, far)
    return near, far


def names(connection: SSL.Connection) -> list[str]:
    certificate = connection.get_peer_certificate()
    assert certificate is not None
    from lbproxy.tls.certificates import _names

    return list(_names(certificate.to_cryptography()))


def test_creators_are_what_twisted_wants(tmp_path: Path) -> None:
    server = ServerContextFactory([pair(tmp_path, "a.example")])
    client = ClientContextFactory("a.example", ca=ca_file(tmp_path))
    assert verifyObject(IOpenSSLServerConnectionCreator, server)
    assert verifyObject(IOpenSSLClientConnectionCreator, client)


def test_sni_chooses_and_replace_swaps(tmp_path: Path) -> None:
    ca = ca_file(tmp_path)
    server = ServerContextFactory(
        [pair(tmp_path, "a.example"), pair(tmp_path, "*.b.example"), pair(tmp_path, "b.example")]
    )

    def seen(host: str, verify: bool = True) -> list[str]:
        near, far = connect(ClientContextFactory(host, ca=ca, verify=verify), server)
        assert far.get_servername() == (host.encode() or None)
        return names(near)

    assert seen("a.example") == ["a.example"]
    assert seen("x.b.example") == ["*.b.example"]
    assert seen("b.example") == ["b.example"]
    assert seen("unknown.org", verify=False) == ["a.example"]
    assert seen("", verify=False) == ["a.example"]
    under_way = server.connection_for_socket()
    server.replace([pair(tmp_path, "new.example"), pair(tmp_path, "a.example")])
    assert seen("new.example") == ["new.example"]
    near = ClientContextFactory("b.example", ca=ca).connection_for_socket()
    shake(near, under_way)
    assert names(near) == ["b.example"]
    with pytest.raises(CertificateError):
        server.replace([])
    assert seen("new.example") == ["new.example"]


@pytest.mark.parametrize(
    ("host", "reason", "options"),
    [
        ("wrong.example", "not for wrong.example", {}),
        ("127.0.0.2", "not for 127.0.0.2", {}),
        ("x.y.wild.example", "not for x.y.wild.example", {}),
        ("a.example", "expired", {"expired": True}),
        ("a.example", "issuer unknown", {"trusted": False}),
    ],
)
def test_verification_fails_the_handshake(
    tmp_path: Path, host: str, reason: str, options: dict[str, bool]
) -> None:
    server = ServerContextFactory(
        [pair(tmp_path, "a.example", "*.wild.example", "127.0.0.1", **options)]
    )
    client = ClientContextFactory(host, ca=ca_file(tmp_path))
    near, far = client.connection_for_socket(), server.connection_for_socket()
    with pytest.raises(SSL.Error):
        shake(near, far)
    assert reason in client.problem(near)
    with pytest.raises(SSL.Error):  # the alert reached the server
        far.do_handshake()
        far.recv(1)
    # the same factory, asked not to verify, takes it
    connect(ClientContextFactory(host, verify=False), server)


@pytest.mark.parametrize("host", ["a.example", "A.example.", "x.wild.example", "127.0.0.1", "::1"])
def test_verification_accepts(tmp_path: Path, host: str) -> None:
    server = ServerContextFactory(
        [pair(tmp_path, "a.example", "*.wild.example", "127.0.0.1", "::1")]
    )
    client = ClientContextFactory(host, ca=ca_file(tmp_path))
    near, far = connect(client, server)
    assert client.problem(near) == ""
    is_name = host[0] not in "1:"
    assert far.get_servername() == (host.rstrip(".").encode() if is_name else None)


def test_hosts_share_a_context_and_no_identity(tmp_path: Path) -> None:
    first = ServerContextFactory([pair(tmp_path, "a.example", "127.0.0.1")])
    second = ServerContextFactory([pair(tmp_path, "b.example")])
    shared = ClientContextFactory("cors.invalid", ca=ca_file(tmp_path))
    a, b, address = (shared.for_host(host) for host in ("a.example", "b.example", "127.0.0.1"))
    assert a.context is b.context is shared.context
    assert len({one.fingerprint for one in (a, b, address, shared)}) == 4
    for client, server, other in ((a, first, second), (b, second, first), (address, first, second)):
        near, _ = connect(client, server)
        near.shutdown()
        client.remember(near)
        for wrong in (shared, client):  # a session of the right server proves nothing
            near = wrong.connection_for_socket()
            with pytest.raises(SSL.Error):
                shake(near, other.connection_for_socket())
            assert f"not for {wrong.host}" in wrong.problem(near)
    assert connect(a, first)[1].get_servername() == b"a.example"
    with pytest.raises(CertificateError, match="without a name"):
        shared.for_host("")
    with pytest.raises(ValueError, match="are verified"):
        ClientContextFactory("a.example", verify=False).for_host("b.example")


def test_system_store_does_not_trust_the_test_authority(tmp_path: Path) -> None:
    server = ServerContextFactory([pair(tmp_path, "a.example")])
    client = ClientContextFactory("a.example")
    near = client.connection_for_socket()
    with pytest.raises(SSL.Error):
        shake(near, server.connection_for_socket())
    assert client.problem(near)
    assert client.problem(None) == ""


def test_ca_folder_and_pinned_certificate(tmp_path: Path) -> None:
    server = ServerContextFactory([load(write(issue("a.example"), tmp_path))])
    folder = tmp_path / "cas"
    folder.mkdir()
    ca_file(folder)
    connect(ClientContextFactory("a.example", ca=str(folder)), server)
    pinned = tmp_path / "pinned.pem"
    pinned.write_bytes(issue("a.example").cert_chain_pems[0].bytes())
    connect(ClientContextFactory("a.example", ca=str(pinned)), server)
    for bad, words in (
        (tmp_path / "none.pem", "No such file"),
        (tmp_path / "empty.pem", "no certificate"),
    ):
        if "empty" in bad.name:
            bad.write_text("nothing")
        with pytest.raises(CertificateError, match=words):
            ClientContextFactory("a.example", ca=str(bad))


def test_self_signed_as_its_own_authority(tmp_path: Path) -> None:
    certificate, key = self_signed(["localhost"])
    (tmp_path / "demo.pem").write_bytes(certificate + key)
    (tmp_path / "demo-ca.pem").write_bytes(certificate)
    server = ServerContextFactory([load(str(tmp_path / "demo.pem"))])
    connect(ClientContextFactory("localhost", ca=str(tmp_path / "demo-ca.pem")), server)


def test_alpn(tmp_path: Path) -> None:
    ca = ca_file(tmp_path)
    server = ServerContextFactory(
        [pair(tmp_path, "a.example"), pair(tmp_path, "b.example")], alpn=["h2", "http/1.1"]
    )
    for host in ("a.example", "b.example"):
        for offered, chosen in (
            (["http/1.1", "h2"], b"h2"),
            (["http/1.1"], b"http/1.1"),
            ([], b""),
        ):
            near, far = connect(ClientContextFactory(host, ca=ca, alpn=offered), server)
            assert near.get_alpn_proto_negotiated() == far.get_alpn_proto_negotiated() == chosen


@pytest.mark.parametrize("host", ["a.example", "b.example"])
def test_alpn_without_a_common_protocol_is_refused(tmp_path: Path, host: str) -> None:
    server = ServerContextFactory(
        [pair(tmp_path, "a.example"), pair(tmp_path, "b.example")], alpn=["h2", "http/1.1"]
    )
    client = ClientContextFactory(host, ca=ca_file(tmp_path), alpn=["spdy"])
    near, far = client.connection_for_socket(), server.connection_for_socket()
    with pytest.raises(NoCommonProtocol) as raised:
        shake(near, far)
    assert tls_error_text(raised.value) == "no application protocol (ALPN) in common"
    with pytest.raises(SSL.Error) as told:  # the alert has come
        near.do_handshake()
    assert "no application protocol" in tls_error_text(told.value)
    connect(ClientContextFactory(host, ca=ca_file(tmp_path), alpn=["h2"]), server)


def keys_of(tmp_path: Path, *host: str) -> list[KeyPair]:
    """An ECDSA and an RSA pair of the same names, each below an authority of its own."""
    return [
        load(write(issue(*host, rsa=rsa, deep=True), tmp_path, f"{host[0]}-{rsa}"))
        for rsa in (False, True)
    ]


@pytest.mark.parametrize("host", ["a.example", "b.example", "unknown.example"])
@pytest.mark.parametrize("rsa", [True, False])
def test_a_name_with_two_kinds_of_keys(tmp_path: Path, host: str, rsa: bool) -> None:
    server = ServerContextFactory(
        [*keys_of(tmp_path, "a.example"), *keys_of(tmp_path, "b.example")]
    )
    assert not server.unused
    name = host if host != "unknown.example" else "a.example"
    client = ClientContextFactory(name, ca=ca_file(tmp_path))
    client._sni = host.encode()
    client.context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client.context.set_cipher_list(
        b"ECDHE-RSA-AES128-GCM-SHA256" if rsa else b"ECDHE-ECDSA-AES128-GCM-SHA256"
    )
    near, _ = connect(client, server)  # it verifies, so the chain is that of this very certificate
    certificate = near.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    assert type(certificate.public_key()).__name__ == ("RSAPublicKey" if rsa else "ECPublicKey")
    assert len(near.get_peer_cert_chain() or ()) == 2, "the leaf and what is above it, nothing else"


def test_pairs_that_no_client_can_get_are_named(tmp_path: Path) -> None:
    first, second = pair(tmp_path, "a.example"), pair(tmp_path, "a.example", "b.example")
    again = load(write(issue("b.example", deep=True), tmp_path, "again"))
    server = ServerContextFactory([first, second, again])
    assert server.unused == (again,)


def test_groups(tmp_path: Path) -> None:
    ca, certificate = ca_file(tmp_path), pair(tmp_path, "a.example")
    client = ClientContextFactory("a.example", ca=ca)
    for group, name in (("P-384", "secp384r1"), ("X25519", "x25519")):
        near, _ = connect(client, ServerContextFactory([certificate], groups=[group]))
        assert (near.get_group_name() or "").lower() == name
    with pytest.raises(CertificateError, match="groups=P-384,nonsense"):
        ServerContextFactory([certificate], groups=["P-384", "nonsense"])


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_sessions_of_ended_connections_are_resumed(tmp_path: Path, version: int) -> None:
    server = ServerContextFactory([pair(tmp_path, "a.example")])
    client = ClientContextFactory("a.example", ca=ca_file(tmp_path))
    client.context.set_max_proto_version(version)

    verified: list[int] = []
    client.context.set_verify(SSL.VERIFY_PEER, lambda *args: bool(verified.append(1)) or True)

    def once(factory: ClientContextFactory) -> bool:
        """Whether the server proved who it is."""
        verified.clear()
        near, far = connect(factory, server)
        far.send(b"x")
        near.bio_write(far.bio_read(65536))
        assert near.recv(10) == b"x"
        near.shutdown()
        factory.remember(near)
        return bool(verified)

    assert [once(client) for _ in range(3)] == [True, False, False]
    checks = client.full_handshakes()
    assert [once(checks) for _ in range(2)] == [True, True]
    assert not once(client)
    other = full_handshakes(TLSParameters(client, server_side=False))
    assert other is not None and once(other.creator)


def test_versions_and_ciphers(tmp_path: Path) -> None:
    ca, certificate = ca_file(tmp_path), pair(tmp_path, "a.example")
    client = ClientContextFactory("a.example", ca=ca)
    near, _ = connect(client, ServerContextFactory([certificate]))
    assert near.get_protocol_version_name() == "TLSv1.3"
    old = ClientContextFactory("a.example", ca=ca)
    old.context.set_max_proto_version(SSL.TLS1_2_VERSION)
    near, _ = connect(old, ServerContextFactory([certificate]))
    assert near.get_protocol_version_name() == "TLSv1.2"
    only = ServerContextFactory([certificate], ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")
    near, _ = connect(old, only)
    assert near.get_cipher_name() == "ECDHE-ECDSA-CHACHA20-POLY1305"
    with pytest.raises(SSL.Error):
        connect(old, ServerContextFactory([certificate], min_version="1.3"))
    with pytest.raises(CertificateError, match="ciphers=nonsense"):
        ServerContextFactory([certificate], ciphers="nonsense")


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("host", ["a.example", "b.example"])
def test_sessions_resume(tmp_path: Path, version: int, host: str) -> None:
    server = ServerContextFactory([pair(tmp_path, "a.example"), pair(tmp_path, "b.example")])
    client = ClientContextFactory(host, ca=ca_file(tmp_path))
    client.context.set_max_proto_version(version)
    verified: list[int] = []
    client.context.set_verify(SSL.VERIFY_PEER, lambda *args: bool(verified.append(1)) or True)

    def once(session: SSL.Session | None) -> SSL.Session | None:
        near, far = client.connection_for_socket(), server.connection_for_socket()
        if session is not None:
            near.set_session(session)
        shake(near, far)
        with contextlib.suppress(SSL.WantReadError):
            near.bio_write(far.bio_read(65536))
        with pytest.raises(SSL.WantReadError):  # TLS 1.3 tickets come after the handshake
            near.recv(1)
        near.shutdown()  # OpenSSL does not resume the session of a connection that was cut
        return near.get_session()

    first = once(None)
    full = len(verified)
    assert full > 0
    once(first)
    assert len(verified) == full  # a resumed handshake sends no certificate


def test_client_certificate(tmp_path: Path) -> None:
    ca, certificate = ca_file(tmp_path), pair(tmp_path, "a.example")
    server = ServerContextFactory([certificate])
    server.context.get_cert_store().add_cert(  # type: ignore[union-attr]
        __import__("OpenSSL").crypto.load_certificate(1, authority().cert_pem.bytes())
    )
    server.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    client = ClientContextFactory("a.example", ca=ca, pair=pair(tmp_path, "client.example"))
    _, far = connect(client, server)
    assert names(far) == ["client.example"]


def test_server_contexts_from_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    write(issue("folder.example"), folder, "one")
    single = write(issue("file.example"), tmp_path, "file", both=False)
    section = CertificateSpec("main", write(issue("main.example"), tmp_path, "m"), "", ("X.org",))
    where = Where(str(tmp_path / "lb.ini"), 3)
    listen = ListenSpec(
        endpoint="tls:8443", tls=True, certificates=("main", "certs/", single), where=where
    )
    server = server_contexts(listen, [section], "http")
    assert [entry.names for entry in server.pairs] == [
        ("x.org",),
        ("folder.example",),
        ("file.example",),
    ]
    near, _ = connect(ClientContextFactory("x", verify=False, alpn=["http/1.1"]), server)
    assert near.get_alpn_proto_negotiated() == b"http/1.1"
    server.replace(listener_pairs(listen, [section])[1:])
    assert server.pairs[0].names == ("folder.example",)
    raw = server_contexts(ListenSpec(endpoint="tls:1", where=where), [section], "tcp")
    near, _ = connect(ClientContextFactory("x", verify=False, alpn=["http/1.1"]), raw)
    assert near.get_alpn_proto_negotiated() == b""
    assert server.plain_reply.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert raw.plain_reply == b"", "who speaks to it may not speak HTTP"
    with pytest.raises(CertificateError, match="needs certificates="):
        server_contexts(ListenSpec(endpoint="tls:1"), [], "tcp")
    with pytest.raises(CertificateError, match="nowhere"):
        server_contexts(ListenSpec(endpoint="tls:1", certificates=("nowhere",)), [], "tcp")


def test_client_contexts_from_configuration(tmp_path: Path) -> None:
    ca = ca_file(tmp_path)
    section = CertificateSpec("me", write(issue("me.example"), tmp_path, "me"))

    def spec(host: str = "127.0.0.1", **options: object) -> ServerSpec:
        return ServerSpec("s", Address("tcp", host, 1), tls=True, ca=ca, **options)  # type: ignore[arg-type]

    assert client_contexts(spec(), []).host == "127.0.0.1"
    assert client_contexts(spec("api.example"), []).host == "api.example"
    assert client_contexts(spec(sni="api.example"), []).host == "api.example"
    client_contexts(spec(certificate="me"), [section], ["http/1.1"])
    with pytest.raises(CertificateError, match=r"no \[certificate other\]"):
        client_contexts(spec(certificate="other"), [section])
    unix = ServerSpec("s", Address("unix", path="/run/x"), tls=True)
    with pytest.raises(CertificateError, match="set sni"):
        client_contexts(unix, [])
    with pytest.raises(CertificateError, match="not a host name"):
        ClientContextFactory("a..b")
