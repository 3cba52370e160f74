"""DATA. The common part of OpenSSL contexts of both sides: versions, ciphers,
certificates, trust.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from lbproxy.tls.certificates import CertificateError, KeyPair
from lbproxy.tls.errorwords import openssl_words

__all__ = ["ca_bytes", "new_context", "trust", "use_pairs"]

# Forward secrecy and authenticated encryption only. OpenSSL selects the TLS 1.3 suites.
DEFAULT_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


def new_context(method: int, min_version: str, ciphers: str) -> SSL.Context:
    """Return a context for ``method`` with the protocol versions, ciphers and options of
    lbproxy.
    """
    context = SSL.Context(method)
    context.set_min_proto_version(_VERSIONS[min_version])
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # saves 34 KiB for each idle connection
    try:
        context.set_cipher_list((ciphers or DEFAULT_CIPHERS).encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        raise CertificateError(f"ciphers={ciphers}: OpenSSL knows none of these ciphers") from None
    return context


def use_pairs(context: SSL.Context, pairs: Sequence[KeyPair]) -> None:
    """Load one pair, or several whose keys are of different kinds.

    OpenSSL uses the pair that the client supports. Raises CertificateError.
    """
    for pair in pairs:
        try:
            if len(pairs) == 1:
                context.use_certificate(pair.certificate)
                for above in pair.chain:
                    context.add_extra_chain_cert(above)
            else:
                _use_chain(context, pair)
            context.use_privatekey(pair.key)  # type: ignore[arg-type]
            context.check_privatekey()
        except (SSL.Error, crypto.Error, TypeError) as error:
            words = openssl_words(error)
            raise CertificateError(f"{pair.source}: OpenSSL refuses it: {words}") from None


def _use_chain(context: SSL.Context, pair: KeyPair) -> None:
    """Load a certificate with its own chain.

    ``add_extra_chain_cert`` sets one chain for all certificates of a context. A chain per
    certificate can only be read from a file.
    """
    with tempfile.NamedTemporaryFile(prefix="lbproxy-", suffix=".pem") as file:
        for certificate in (pair.certificate, *pair.chain):
            file.write(certificate.public_bytes(Encoding.PEM))
        file.flush()
        context.use_certificate_chain_file(os.fsencode(file.name))


def ca_bytes(ca: str) -> bytes:
    """Return the content of a file, or of all files of a folder."""
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


def trust(context: SSL.Context, ca: str, data: bytes) -> None:
    """Make all certificates in ``data``, read from ``ca``, trust anchors, self-signed or not."""
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
