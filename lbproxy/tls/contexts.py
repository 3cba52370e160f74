"""DATA. OpenSSL contexts for both sides, as the connection creators Twisted asks for.

:func:`server_contexts` and :func:`client_contexts` build them from the configuration;
:class:`lbproxy.tls.parameters.TLSParameters` carries them to a network.  An embedder can hand either
to any Twisted TLS endpoint.  Contexts are never changed once they are used: new certificates make
new contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import CertificateError as NoNames
from service_identity import VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, ServiceID, verify_service_identity
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from zope.interface import implementer

from lbproxy.model import CertificateSpec, ListenSpec, Mode, ServerSpec
from lbproxy.tls.certificates import CertificateError, KeyPair, load, load_path
from lbproxy.tls.sni import NameTable

__all__ = [
    "ClientContextFactory",
    "ServerContextFactory",
    "client_contexts",
    "listener_pairs",
    "server_contexts",
]

# Forward secrecy and authenticated encryption only; TLS 1.3 suites are OpenSSL's own choice.
DEFAULT_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

_CHAIN_PROBLEMS = {
    2: "issuer unknown",
    7: "bad signature",
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "self-signed certificate not trusted",
    19: "self-signed authority not trusted",
    20: "issuer unknown",
    21: "issuer unknown",
    23: "certificate revoked",
    24: "issuer is not an authority",
    26: "certificate is not for servers",
}


@implementer(IOpenSSLServerConnectionCreator)
class ServerContextFactory:
    """TLS towards clients: one certificate or several chosen by the name the client asks for.

    ``pairs``: the first is the default for clients that name no or another host.  ``alpn``:
    protocols offered, best first; empty: none.  ``ciphers``: OpenSSL list for TLS 1.2.
    """

    def __init__(
        self,
        pairs: Sequence[KeyPair],
        *,
        min_version: str = "1.2",
        ciphers: str = "",
        alpn: Sequence[str] = (),
    ) -> None:
        self._options = (min_version, ciphers, tuple(alpn))
        self._min_version = min_version
        self._ciphers = ciphers
        self._alpn = [name.encode("latin-1") for name in alpn]
        self._client_ca = ""
        self.pairs: tuple[KeyPair, ...] = ()
        self._table: NameTable[SSL.Context]
        self.replace(pairs)

    def replace(self, pairs: Sequence[KeyPair]) -> None:
        """Use these for handshakes that begin from now on; those under way end with the old ones.

        Raises :class:`CertificateError`, and then nothing has changed."""
        if not pairs:
            raise CertificateError("a TLS listener needs a certificate")
        contexts = [self._context(pair) for pair in pairs]
        table = NameTable(
            [(pair.names, ctx) for pair, ctx in zip(pairs, contexts, strict=True)], contexts[0]
        )
        if len(contexts) > 1:  # one certificate needs no callback in its handshakes
            contexts[0].set_tlsext_servername_callback(_name_chooser(table))
        self._table = table
        self.pairs = tuple(pairs)

    def demand_client(self, ca: str) -> None:
        """Only clients with a certificate of an authority in ``ca`` (PEM file or folder) get through a handshake.

        Raises :class:`CertificateError`."""
        self._client_ca = ca
        self.replace(self.pairs)

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """Equal for factories that do the same: a reload then keeps the old one, and its session tickets."""
        return self._options, tuple(pair.fingerprint for pair in self.pairs)

    @property
    def context(self) -> SSL.Context:
        """The context new connections begin with; the name callback may move them to another."""
        return self._table.default

    def connection_for_socket(self, socket: Any = None) -> SSL.Connection:
        """A connection in accept state: on ``socket``, or in memory without one."""
        connection = SSL.Connection(self._table.default, socket)
        connection.set_accept_state()
        return connection

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """What Twisted's TLS calls for each connection."""
        return SSL.Connection(self._table.default, None)

    def _context(self, pair: KeyPair) -> SSL.Context:
        context = _new_context(SSL.TLS_SERVER_METHOD, self._min_version, self._ciphers)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        context.set_session_id(b"lbproxy")
        _use_pair(context, pair)
        if self._client_ca:
            _trust(context, self._client_ca, _ca_bytes(self._client_ca))
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        if self._alpn:
            context.set_alpn_select_callback(_protocol_chooser(self._alpn))
        return context


def _name_chooser(table: NameTable[SSL.Context]) -> Any:
    def choose(connection: SSL.Connection) -> None:
        """Runs inside the handshake; whatever it raised would be lost, so it does not."""
        name = connection.get_servername()
        if name is not None:
            context = table.choose(name.decode("ascii", "replace"))
            if context is not table.default:
                connection.set_context(context)

    return choose


def _protocol_chooser(offered: list[bytes]) -> Any:
    def choose(connection: SSL.Connection, wanted: list[bytes]) -> Any:
        """Our favourite among the client's; without a common one the handshake goes on without
        ALPN, as clients that offer only what they would like expect."""
        for name in offered:
            if name in wanted:
                return name
        return SSL.NO_OVERLAPPING_PROTOCOLS

    return choose


@implementer(IOpenSSLClientConnectionCreator)
class ClientContextFactory:
    """TLS towards one server.

    ``host``: DNS name or IP literal; it is verified and, if a name, sent as SNI.  ``ca``: PEM file or
    folder of trusted authorities, "" for the system's.  ``verify`` False accepts any certificate.
    ``pair``: client certificate.  ``alpn``: protocols offered.
    """

    def __init__(
        self,
        host: str,
        *,
        verify: bool = True,
        ca: str = "",
        pair: KeyPair | None = None,
        alpn: Sequence[str] = (),
    ) -> None:
        self.host = host
        trusted = _ca_bytes(ca) if ca and verify else b""
        self.fingerprint: tuple[Any, ...] = (
            host,
            verify,
            trusted,
            pair and pair.fingerprint,
            tuple(alpn),
        )
        self._service, self._sni = _service(host)
        self._problems: WeakKeyDictionary[SSL.Connection, str] = WeakKeyDictionary()
        self.context = context = _new_context(SSL.TLS_CLIENT_METHOD, "1.2", "")
        if pair is not None:
            _use_pair(context, pair)
        if alpn:
            context.set_alpn_protos([name.encode("latin-1") for name in alpn])
        if not verify:
            context.set_verify(SSL.VERIFY_NONE)
            return
        if self._service is None:
            raise CertificateError(
                "a server's certificate cannot be verified without a name: set sni"
            )
        if ca:
            _trust(context, ca, trusted)
        else:
            context.set_default_verify_paths()
        context.set_verify(SSL.VERIFY_PEER, self._check)

    def connection_for_socket(self, socket: Any = None) -> SSL.Connection:
        """A connection in connect state: on ``socket``, or in memory without one."""
        connection = SSL.Connection(self.context, socket)
        if self._sni:
            connection.set_tlsext_host_name(self._sni)
        connection.set_connect_state()
        return connection

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """What Twisted's TLS calls for each connection."""
        return self.connection_for_socket()

    def problem(self, connection: Any) -> str:
        """Why that connection's verification failed, "" if it did not."""
        return "" if connection is None else self._problems.get(connection, "")

    def _check(
        self, connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
    ) -> bool:
        """OpenSSL calls it for each certificate of the chain, the server's own (depth 0) last.

        False ends the handshake with an alert on whatever transport it runs: the name is checked
        here, and not after the handshake, so that nobody can forget to."""
        if not ok:
            reason = _CHAIN_PROBLEMS.get(code, f"verification error {code}")
            self._problems[connection] = reason
            return False
        if depth == 0:
            try:
                problem = self._name_problem(certificate)
            except Exception as error:  # an exception must mean "no", whatever OpenSSL makes of it
                problem = f"certificate cannot be checked: {error}"
            if problem:
                self._problems[connection] = problem
                return False
        return True

    def _name_problem(self, certificate: crypto.X509) -> str:
        assert self._service is not None
        try:
            patterns = extract_patterns(certificate.to_cryptography())
            verify_service_identity(patterns, [self._service], [])
        except (VerificationError, NoNames):
            return f"certificate is not for {self.host}"
        return ""


def server_contexts(
    listen: ListenSpec, certificates: Sequence[CertificateSpec], mode: Mode
) -> ServerContextFactory:
    """What a ``tls:`` listener needs; reads the files.  Raises :class:`CertificateError`.

    ALPN offers http/1.1 in http mode and nothing in tcp mode, unless ``alpn=`` says otherwise."""
    alpn = listen.alpn or (("http/1.1",) if mode == "http" else ())
    return ServerContextFactory(
        listener_pairs(listen, certificates),
        min_version=listen.min_version,
        ciphers=listen.ciphers,
        alpn=alpn,
    )


def listener_pairs(listen: ListenSpec, certificates: Sequence[CertificateSpec]) -> list[KeyPair]:
    """The certificates of a listener, as they are on disk now; the first is the default.

    Each word of ``certificates=`` is the name of a section, or a file or folder (relative to the
    configuration file's); without it every ``[certificate]`` section is used, in the order written.
    For :meth:`ServerContextFactory.replace` when files have changed."""
    sections = {spec.name: spec for spec in certificates}
    folder = Path(listen.where.file).parent
    pairs: list[KeyPair] = []
    for word in listen.certificates or sections:
        spec = sections.get(word)
        pairs += [_section(spec)] if spec else load_path(str(folder / word))
    if not pairs:
        raise CertificateError(f"{listen.endpoint}: a TLS listener needs certificates=")
    return pairs


def client_contexts(
    server: ServerSpec, certificates: Sequence[CertificateSpec], alpn: Sequence[str] = ()
) -> ClientContextFactory:
    """What a server with ``tls`` needs; reads the files.  Raises :class:`CertificateError`.

    ``alpn``: ("http/1.1",) for an http backend; raw TCP offers none."""
    pair = None
    if server.certificate:
        found = [spec for spec in certificates if spec.name == server.certificate]
        if not found:
            raise CertificateError(f"server {server.name}: no [certificate {server.certificate}]")
        pair = _section(found[0])
    host = server.sni or (server.target.address.host if server.target.address else "")
    return ClientContextFactory(host, verify=server.verify, ca=server.ca, pair=pair, alpn=alpn)


def _section(spec: CertificateSpec) -> KeyPair:
    return load(spec.certificate, spec.key, spec.hosts)


def _new_context(method: int, min_version: str, ciphers: str) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(_VERSIONS[min_version])
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 34 KiB less for each idle connection
    try:
        context.set_cipher_list((ciphers or DEFAULT_CIPHERS).encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        raise CertificateError(f"ciphers={ciphers}: OpenSSL knows no such cipher") from None
    return context


def _use_pair(context: SSL.Context, pair: KeyPair) -> None:
    try:
        context.use_certificate(pair.certificate)
        for above in pair.chain:
            context.add_extra_chain_cert(above)
        context.use_privatekey(pair.key)  # type: ignore[arg-type]
        context.check_privatekey()
    except (SSL.Error, crypto.Error, TypeError) as error:
        raise CertificateError(f"{pair.source}: OpenSSL refuses it: {error}") from None


def _service(host: str) -> tuple[ServiceID | None, bytes]:
    """What to verify, and what to send as SNI (RFC 6066 §3: never an address)."""
    if not host:
        return None, b""
    try:
        ip_address(host)
    except ValueError:
        try:
            name = host.rstrip(".").encode("idna").decode("ascii")
            return DNS_ID(name), name.encode("ascii")
        except ValueError as error:
            raise CertificateError(f"{host}: not a host name: {error}") from None
    return IPAddress_ID(host), b""


def _ca_bytes(ca: str) -> bytes:
    """A file, or every file of a folder."""
    path = Path(ca)
    try:
        files = (
            sorted(entry for entry in path.iterdir() if entry.is_file())
            if path.is_dir()
            else [path]
        )
        return b"\n".join(entry.read_bytes() for entry in files)
    except OSError as error:
        raise CertificateError(f"{ca}: {error.strerror}") from None


def _trust(context: SSL.Context, ca: str, data: bytes) -> None:
    """Any certificate in ``data``, read from ``ca``, is an anchor, self-signed or not."""
    store = context.get_cert_store()
    assert store is not None
    for certificate in _certificates(data, ca):
        store.add_cert(crypto.X509.from_cryptography(certificate))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)


def _certificates(data: bytes, path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        if b"BEGIN CERTIFICATE" in data:
            raise CertificateError(f"{path}: unreadable certificate: {error}") from None
        raise CertificateError(f"{path}: no certificate") from None
