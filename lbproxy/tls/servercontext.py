"""DATA. TLS towards clients: certificates by server name, application protocols and groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from lbproxy.tls.certificates import CertificateError, KeyPair
from lbproxy.tls.context import ca_bytes, new_context, trust, use_pairs
from lbproxy.tls.openssl import set_groups
from lbproxy.tls.sni import NameTable

__all__ = ["NoCommonProtocol", "ServerContextFactory"]


@implementer(IOpenSSLServerConnectionCreator)
class ServerContextFactory:
    """TLS parameters for clients, with one certificate or several chosen by server name.

    ``pairs``: the first is the default for clients that send no name or an unknown one. Several
    pairs of one name with keys of different kinds (RSA and ECDSA) serve it together: each client
    gets the one it supports. ``unused``: pairs that no client can get, because earlier pairs have
    all of their names. ``alpn``: protocols offered, best first; empty: none. A client that offers
    only others is refused. ``ciphers``: OpenSSL list for TLS 1.2. ``groups``: for key exchange,
    best first; empty: OpenSSL's choice. ``plain_reply``: reply to a client that speaks plain HTTP
    to this listener.
    """

    def __init__(
        self,
        pairs: Sequence[KeyPair],
        *,
        min_version: str = "1.2",
        ciphers: str = "",
        alpn: Sequence[str] = (),
        groups: Sequence[str] = (),
        plain_reply: bytes = b"",
    ) -> None:
        self._options = (min_version, ciphers, tuple(alpn), tuple(groups), plain_reply)
        self._min_version = min_version
        self._ciphers = ciphers
        self._alpn = [name.encode("latin-1") for name in alpn]
        self._groups = tuple(groups)
        self._client_ca = ""
        self.plain_reply = plain_reply
        self.pairs: tuple[KeyPair, ...] = ()
        self.unused: tuple[KeyPair, ...] = ()
        self._table: NameTable[SSL.Context]
        self.replace(pairs)

    def replace(self, pairs: Sequence[KeyPair]) -> None:
        """Use these pairs for new handshakes. Running handshakes complete with the old ones.

        Raises :class:`CertificateError` without changing anything.
        """
        if not pairs:
            raise CertificateError("a TLS listener needs a certificate")
        choices = _choices(pairs)
        first = choices[pairs[0].names[0]] if pairs[0].names else (pairs[0],)
        contexts = {pairs_of: self._context(pairs_of) for pairs_of in {first, *choices.values()}}
        table = NameTable(
            [((name,), contexts[pairs_of]) for name, pairs_of in choices.items()], contexts[first]
        )
        if len(contexts) > 1:  # a single context needs no callback in its handshakes
            contexts[first].set_tlsext_servername_callback(_name_chooser(table))
        self._table = table
        self.pairs = tuple(pairs)
        used = {id(pair) for pairs_of in contexts for pair in pairs_of}
        self.unused = tuple(pair for pair in pairs if id(pair) not in used)

    def demand_client(self, ca: str) -> None:
        """Require a client certificate of an authority in ``ca`` (PEM file or folder) in each
        handshake.

        Raises :class:`CertificateError`.
        """
        self._client_ca = ca
        self.replace(self.pairs)

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """Return a value that is equal for equivalent factories. A reload then keeps the old
        factory and its session tickets.
        """
        return self._options, tuple(pair.fingerprint for pair in self.pairs)

    @property
    def context(self) -> SSL.Context:
        """Return the context that new connections start with. The callback for the server name may
        select another one.
        """
        return self._table.default

    def connection_for_socket(self, socket: Any = None) -> SSL.Connection:
        """Return a connection in accept state, on ``socket`` or in memory."""
        connection = SSL.Connection(self._table.default, socket)
        connection.set_accept_state()
        return connection

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """See IOpenSSLServerConnectionCreator."""
        return SSL.Connection(self._table.default, None)

    def _context(self, pairs: Sequence[KeyPair]) -> SSL.Context:
        context = new_context(SSL.TLS_SERVER_METHOD, self._min_version, self._ciphers)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        context.set_session_id(b"lbproxy")
        use_pairs(context, pairs)
        if self._client_ca:
            trust(context, self._client_ca, ca_bytes(self._client_ca))
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        if self._alpn:
            context.set_alpn_select_callback(_protocol_chooser(self._alpn))
        if self._groups:
            _restrict(context, self._groups)
        return context


def _choices(pairs: Sequence[KeyPair]) -> dict[str, tuple[KeyPair, ...]]:
    """Return the pairs for each name: for each kind of key, the first pair with that name."""
    claims: dict[str, dict[type, KeyPair]] = {}
    for pair in pairs:
        for name in pair.names:
            claims.setdefault(name, {}).setdefault(type(pair.key), pair)
    return {name: tuple(kinds.values()) for name, kinds in claims.items()}


def _restrict(context: SSL.Context, groups: Sequence[str]) -> None:
    try:
        known = set_groups(context, groups)
    except AttributeError:
        raise CertificateError("groups: this version of pyOpenSSL cannot choose groups") from None
    if not known:
        raise CertificateError(
            f"groups={','.join(groups)}: OpenSSL does not know all of these groups; "
            "write for example X25519,P-256"
        )


def _name_chooser(table: NameTable[SSL.Context]) -> Any:
    def choose(connection: SSL.Connection) -> None:
        """Select the context by server name. It never raises, because an exception inside the
        handshake would be lost.
        """
        name = connection.get_servername()
        if name is not None:
            context = table.choose(name.decode("ascii", "replace"))
            if context is not table.default:
                connection.set_context(context)

    return choose


def _protocol_chooser(offered: list[bytes]) -> Any:
    def choose(connection: SSL.Connection, wanted: list[bytes]) -> Any:
        """Return the listener's first protocol that the client offers. Without a common protocol
        the handshake ends with the alert no_application_protocol (RFC 7301 section 3.2).
        """
        for name in offered:
            if name in wanted:
                return name
        raise NoCommonProtocol

    return choose


class NoCommonProtocol(SSL.Error):
    """The client offers protocols by ALPN, but none that the listener offers. Raised in the
    callback and by the handshake.
    """

    def __init__(self) -> None:
        super().__init__([("SSL routines", "", "no application protocol")])
