"""DATA. Certificates with their keys, read from PEM files and folders, and self-signed ones for
demos.

:mod:`lbproxy.tls.contexts` calls these functions at start and at reload, never while traffic is
served. Every mistake raises a :class:`CertificateError` that begins with the path.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

__all__ = ["CertificateError", "KeyPair", "load", "load_folder", "load_path", "self_signed"]

_SUFFIXES = (".pem", ".crt", ".cer")
_KEY_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL
)


class CertificateError(ValueError):
    """A certificate, key or TLS setting cannot be used. The message names it and the reason."""


@frozen(eq=False)
class KeyPair:
    """A certificate, the chain above it and its private key.

    ``names``: DNS names (including ``*.example.com``) and IP literals that the certificate is valid
    for, in lower case. Only subject alternative names count (RFC 6125 §6.4.4, as in every browser).
    ``source``: for messages. ``key_file``: the file with the key, "" if none is known.
    """

    source: str
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes
    names: tuple[str, ...]
    key_file: str = ""

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """Return a value that is equal for pairs that are the same to clients."""
        chain = (self.certificate, *self.chain)
        return self.names, tuple(one.fingerprint(hashes.SHA256()) for one in chain)

    @property
    def expires(self) -> float:
        """Expiry of the certificate, in Unix time."""
        return self.certificate.not_valid_after_utc.timestamp()


def load(certificate: str, key: str = "", names: Sequence[str] = ()) -> KeyPair:
    """Read a certificate file (own certificate first, then the chain) and its key.

    ``key``: "" if the key is in the same file. ``names`` replace those in the certificate.
    """
    data = _read(certificate)
    try:
        chain = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        if b"BEGIN CERTIFICATE" not in data:
            raise CertificateError(f"{certificate}: no certificate") from None
        raise CertificateError(f"{certificate}: unreadable certificate: {error}") from None
    private = _key(_read(key) if key else data, key or certificate)
    if _public_bytes(private.public_key()) != _public_bytes(chain[0].public_key()):
        where = f"{key}: " if key else f"{certificate}: private "
        what = f"the certificate in {certificate}" if key else "certificate"
        raise CertificateError(f"{where}key does not match {what}")
    found = tuple(name.lower() for name in names) or _names(chain[0])
    return KeyPair(certificate, chain[0], tuple(chain[1:]), private, found, key or certificate)


def load_path(path: str) -> list[KeyPair]:
    """Return the pairs of a folder, or of a file with a certificate and its key (or with the key
    beside it as ``name.key``).
    """
    if Path(path).is_dir():
        return load_folder(path)
    return [load(path, _key_beside(Path(path)))]


def load_folder(path: str) -> list[KeyPair]:
    """Return every pair in a folder, in order of file names.

    A pair is a ``.pem``, ``.crt`` or ``.cer`` file that contains its key or has it beside it as
    ``name.key``. A folder with ``fullchain.pem`` and ``privkey.pem`` (as written by ACME clients)
    is one pair; so is each such folder inside it.
    """
    folder = Path(path)
    pairs = _acme_folder(folder)
    if pairs:
        return pairs
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            pairs += _acme_folder(entry)
        elif entry.suffix.lower() in _SUFFIXES:
            data = _read(str(entry))
            if b"BEGIN CERTIFICATE" in data:
                pairs.append(load(str(entry), _key_beside(entry)))
            elif not _KEY_BLOCK.search(data):  # a key without a certificate belongs to another file
                raise CertificateError(f"{entry}: neither a certificate nor a key")
    if not pairs:
        raise CertificateError(f"{path}: no certificate in this folder")
    return pairs


def self_signed(names: Sequence[str], days: int = 30) -> tuple[bytes, bytes]:
    """Return a new certificate for these names (or IP literals) and its key, both in PEM, for demos
    and tests.

    It is valid from one hour ago, for ``days``.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from None


def _key(data: bytes, path: str) -> PrivateKeyTypes:
    block = _KEY_BLOCK.search(data)
    if block is None:
        raise CertificateError(f"{path}: no private key")
    if b"ENCRYPTED" in block.group():
        raise CertificateError(f"{path}: the private key is encrypted; store it without a password")
    try:
        return serialization.load_pem_private_key(block.group(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{path}: unreadable private key: {error}") from None


def _public_bytes(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _key_beside(path: Path) -> str:
    """Return the file that contains only the key, "" if the certificate's file contains it or no
    key exists.
    """
    beside = path.with_suffix(".key")
    return str(beside) if beside.exists() and not _KEY_BLOCK.search(_read(str(path))) else ""


def _acme_folder(folder: Path) -> list[KeyPair]:
    chain, key = folder / "fullchain.pem", folder / "privkey.pem"
    return [load(str(chain), str(key))] if chain.exists() and key.exists() else []


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    hosts = [name.lower() for name in san.get_values_for_type(x509.DNSName)]
    return (*hosts, *(str(ip) for ip in san.get_values_for_type(x509.IPAddress)))
