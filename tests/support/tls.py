"""Certificates for tests: one throw-away authority, and files as an operator would have them."""

from __future__ import annotations

import datetime
from functools import cache
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

from lbproxy.tls.certificates import KeyPair, load

__all__ = ["authority", "issue", "other_authority", "pair", "write"]


@cache
def authority() -> trustme.CA:
    """The authority that test clients trust."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@cache
def other_authority() -> trustme.CA:
    """One that they do not."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@cache
def issue(
    *names: str, expired: bool = False, trusted: bool = True, rsa: bool = False, deep: bool = False
) -> trustme.LeafCert:
    """A certificate for DNS names or IP literals; ``deep``: below an authority between."""
    end = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1) if expired else None
    ca = authority() if trusted else other_authority()
    ca = ca.create_child_ca() if deep else ca
    return ca.issue_cert(
        *names,
        not_before=end and end - datetime.timedelta(days=9),
        not_after=end,
        key_type=trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA,
    )


def write(leaf: trustme.LeafCert, folder: Path, name: str = "site", *, both: bool = True) -> str:
    """``name.pem`` with everything, or ``name.crt`` and ``name.key``; the certificate's path."""
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    if both:
        path = folder / f"{name}.pem"
        path.write_bytes(leaf.private_key_pem.bytes() + chain)
    else:
        path = folder / f"{name}.crt"
        path.write_bytes(chain)
        (folder / f"{name}.key").write_bytes(leaf.private_key_pem.bytes())
    return str(path)


def pair(folder: Path, *names: str, expired: bool = False, trusted: bool = True) -> KeyPair:
    """A loaded :class:`KeyPair` for these names."""
    return load(
        write(issue(*names, expired=expired, trusted=trusted), folder, names[0].strip("*."))
    )


def ca_file(folder: Path) -> str:
    """The trusted authority as a PEM file."""
    path = folder / "ca.pem"
    path.write_bytes(authority().cert_pem.bytes())
    return str(path)


def encrypted_key(leaf: trustme.LeafCert) -> bytes:
    """Its key behind a password."""
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
