"""DATA. OpenSSL contexts for both sides, created from the configuration as connection creators for
Twisted.

:class:`lbproxy.tls.parameters.TLSParameters` passes them to a network. An embedder can pass them to
any Twisted TLS endpoint. A context in use is never changed; new certificates create new contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lbproxy.model import CertificateSpec, ListenSpec, Mode, ServerSpec
from lbproxy.tls.certificates import CertificateError, KeyPair, load, load_path
from lbproxy.tls.clientcontext import ClientContextFactory
from lbproxy.tls.servercontext import ServerContextFactory

__all__ = [
    "ClientContextFactory",
    "ServerContextFactory",
    "client_contexts",
    "listener_pairs",
    "server_contexts",
    "unused_certificates",
]

_PLAIN_BODY = b"400 Bad Request\nThis port speaks HTTPS: use https:// in the address.\n"
_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_PLAIN_BODY), _PLAIN_BODY)
)


def server_contexts(
    listen: ListenSpec, certificates: Sequence[CertificateSpec], mode: Mode
) -> ServerContextFactory:
    """Return the TLS parameters of a ``tls:`` listener; reads the files.

    Raises :class:`CertificateError`.

    ALPN offers http/1.1 in http mode and nothing in tcp mode, unless ``alpn=`` says otherwise.
    """
    alpn = listen.alpn or (("http/1.1",) if mode == "http" else ())
    return ServerContextFactory(
        listener_pairs(listen, certificates),
        min_version=listen.min_version,
        ciphers=listen.ciphers,
        alpn=alpn,
        groups=listen.groups,
        plain_reply=_PLAIN_HTTP if mode == "http" else b"",
    )


def unused_certificates(frontend: str, contexts: ServerContextFactory) -> list[str]:
    """Return a warning for each certificate of a listener that no client can get."""
    return [
        f"frontend {frontend}: certificate {pair.source} is never used: certificates before it "
        "have "
        f"all of its names ({', '.join(pair.names) or 'none'}) and the same kind of key"
        for pair in contexts.unused
    ]


def listener_pairs(listen: ListenSpec, certificates: Sequence[CertificateSpec]) -> list[KeyPair]:
    """Return the certificates of a listener, as they are on disk now. The first is the default.

    Each word of ``certificates=`` is the name of a section, or a file or folder (relative to the
    configuration file's folder). Without the option every ``[certificate]`` section is used, in the
    order written. :meth:`ServerContextFactory.replace` takes the result when files have changed.
    """
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
    """Return the TLS parameters of a server with ``tls``, from its files.

    Raises :class:`CertificateError`. ``alpn``: ("http/1.1",) for an http backend; raw TCP offers
    none.
    """
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
