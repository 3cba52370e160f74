"""DATA. TLS towards servers: trusted authorities, client certificates, and session resumption."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from weakref import WeakKeyDictionary

from OpenSSL import SSL, crypto
from service_identity import CertificateError as NoNames
from service_identity import VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, ServiceID, verify_service_identity
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from lbproxy.http.asciihost import ascii_host
from lbproxy.tls.certificates import CertificateError, KeyPair
from lbproxy.tls.context import ca_bytes, new_context, trust, use_pairs
from lbproxy.tls.errorwords import chain_words
from lbproxy.tls.parameters import TLSParameters

__all__ = ["ClientContextFactory", "full_handshakes"]


def full_handshakes(parameters: TLSParameters | None) -> TLSParameters | None:
    """Return parameters without resumption, so that each check sees the server's certificate."""
    creator = parameters.creator if parameters is not None else None
    if not isinstance(creator, ClientContextFactory):
        return parameters
    return TLSParameters(creator.full_handshakes(), server_side=False)


@implementer(IOpenSSLClientConnectionCreator)
class ClientContextFactory:
    """TLS parameters for one server.

    A new connection resumes the session of the last connection that has ended.

    ``host``: DNS name or IP literal; it is verified and, if a name, sent as SNI. ``ca``: PEM file
    or folder of trusted authorities, "" for the system's. ``verify`` False accepts any certificate.
    ``pair``: client certificate. ``alpn``: protocols offered.
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
        trusted = ca_bytes(ca) if ca and verify else b""
        self.fingerprint: tuple[Any, ...] = (
            host,
            verify,
            trusted,
            pair and pair.fingerprint,
            tuple(alpn),
        )
        self._service, self._sni = _service(host)
        self._session: SSL.Session | None = None
        self._resumes = True
        self._shares = False  # the context belongs to another host
        self._problems: WeakKeyDictionary[SSL.Connection, str] = WeakKeyDictionary()
        self.context = context = new_context(SSL.TLS_CLIENT_METHOD, "1.2", "")
        if pair is not None:
            use_pairs(context, [pair])
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
            trust(context, ca, trusted)
        else:
            context.set_default_verify_paths()
        context.set_verify(SSL.VERIFY_PEER, self._check)

    def connection_for_socket(self, socket: Any = None) -> SSL.Connection:
        """Return a connection in connect state, on ``socket`` or in memory."""
        connection = SSL.Connection(self.context, socket)
        if self._shares:
            connection.set_verify(SSL.VERIFY_PEER, self._check)
        if self._sni:
            connection.set_tlsext_host_name(self._sni)
        if self._session is not None:
            connection.set_session(self._session)
        connection.set_connect_state()
        return connection

    def remember(self, connection: Any) -> None:
        """Keep the session of an established connection that ends, for resumption by the next
        handshake.

        This factory verified the session, so the name and the authorities are the same. OpenSSL
        does not resume the session of a connection on which we sent no close_notify.
        """
        if self._resumes:
            self._session = connection.get_session()

    def full_handshakes(self) -> ClientContextFactory:
        """Return parameters that resume no session."""
        twin = copy.copy(self)
        twin._resumes = False
        twin._session = None
        return twin

    def for_host(self, host: str) -> ClientContextFactory:
        """Return parameters for another host with the same OpenSSL context.

        Reading the authorities takes 10 ms and almost a megabyte, so the context is shared. Only
        for a factory that verifies. Raises :class:`CertificateError` if ``host`` is not a host
        name.
        """
        if not self.fingerprint[1]:
            raise ValueError("connections that share a context are verified")
        twin = copy.copy(self)
        twin.host = host
        twin._service, twin._sni = _service(host)
        if twin._service is None:
            raise CertificateError("a certificate cannot be verified without a name")
        twin.fingerprint = (host, *self.fingerprint[1:])
        twin._session = None
        twin._shares = True
        twin._problems = WeakKeyDictionary()
        return twin

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        return self.connection_for_socket()

    def problem(self, connection: Any) -> str:
        """Return why the verification of this connection failed, "" if it did not."""
        return "" if connection is None else self._problems.get(connection, "")

    def _check(
        self, connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
    ) -> bool:
        """Verify one certificate of the chain. OpenSSL calls it for each one, the server's own
        (depth 0) last.

        False ends the handshake with an alert, whatever transport it runs on. The name is checked
        here and not after the handshake, so that no caller can forget it.
        """
        if not ok:
            reason = chain_words(code)
            self._problems[connection] = reason
            return False
        if depth == 0:
            try:
                problem = self._name_problem(certificate)
            except Exception as error:  # an exception must mean "no", whatever OpenSSL does with it
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


def _service(host: str) -> tuple[ServiceID | None, bytes]:
    """Return the identity to verify, and the name to send as SNI (RFC 6066 §3: never an
    address).
    """
    if not host:
        return None, b""
    try:
        ip_address(host)
    except ValueError:
        try:
            name = ascii_host(host.rstrip(".")).encode("idna").decode("ascii")
            return DNS_ID(name), name.encode("ascii")
        except ValueError as error:
            raise CertificateError(f"{host}: not a host name: {error}") from None
    return IPAddress_ID(host), b""
