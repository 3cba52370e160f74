"""Loading certificates the ways operators keep them, and saying what is wrong with them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lbproxy.tls.certificates import (
    CertificateError,
    load,
    load_folder,
    load_path,
    self_signed,
)
from tests.support.tls import authority, encrypted_key, issue, write


def test_one_file(tmp_path: Path) -> None:
    found = load(write(issue("A.example", "*.b.example", "192.0.2.1"), tmp_path))
    assert found.names == ("a.example", "*.b.example", "192.0.2.1")
    assert found.expires > time.time()
    assert found.chain == ()


def test_two_files_and_names_given(tmp_path: Path) -> None:
    path = write(issue("a.example"), tmp_path, both=False)
    assert load(path, path.replace(".crt", ".key"), ["X.example"]).names == ("x.example",)
    assert load_path(path)[0].names == ("a.example",)


def test_chain_is_kept(tmp_path: Path) -> None:
    child = authority().create_child_ca()
    leaf = child.issue_cert("deep.example")
    found = load(write(leaf, tmp_path))
    assert len(found.chain) == 1
    assert found.chain[0].subject == found.certificate.issuer


def test_folder(tmp_path: Path) -> None:
    write(issue("b.example"), tmp_path, "b", both=False)
    write(issue("a.example"), tmp_path, "a")
    (tmp_path / "notes.txt").write_text("not a certificate")
    (tmp_path / "only-key.pem").write_bytes(issue("a.example").private_key_pem.bytes())
    acme = tmp_path / "live"
    acme.mkdir()
    (acme / "fullchain.pem").write_bytes(issue("c.example").cert_chain_pems[0].bytes())
    (acme / "privkey.pem").write_bytes(issue("c.example").private_key_pem.bytes())
    (acme / "chain.pem").write_bytes(authority().cert_pem.bytes())
    pairs = load_folder(str(tmp_path))
    assert [pair.names[0] for pair in pairs] == ["a.example", "b.example", "c.example"]
    assert load_path(str(acme))[0].names == ("c.example",)


def message(path: str, key: str = "") -> str:
    with pytest.raises(CertificateError) as caught:
        load(path, key)
    return str(caught.value)


def test_mistakes(tmp_path: Path) -> None:
    good, other = issue("a.example"), issue("b.example")
    chain = good.cert_chain_pems[0].bytes()

    def file(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    missing = str(tmp_path / "missing.pem")
    assert message(missing) == f"{missing}: No such file or directory"
    no_key = file("no_key.pem", chain)
    assert message(no_key) == f"{no_key}: no private key"
    key = file("key.pem", other.private_key_pem.bytes())
    assert message(key) == f"{key}: no certificate"
    wrong = file("wrong.pem", chain + other.private_key_pem.bytes())
    assert message(wrong) == f"{wrong}: private key does not match certificate"
    assert message(no_key, key) == f"{key}: key does not match the certificate in {no_key}"
    locked = file("locked.pem", chain + encrypted_key(good))
    assert "is encrypted" in message(locked)
    broken = file("broken.pem", chain.replace(b"MII", b"XXX", 1) + good.private_key_pem.bytes())
    assert "unreadable certificate" in message(broken)
    text = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    assert "unreadable private key" in message(file("odd.pem", chain + text))
    assert message(str(tmp_path)) == f"{tmp_path}: Is a directory"


def test_folder_mistakes(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="no certificate in this folder"):
        load_folder(str(tmp_path))
    (tmp_path / "x.crt").write_bytes(issue("a.example").cert_chain_pems[0].bytes())
    with pytest.raises(CertificateError, match=r"x\.crt: no private key"):
        load_folder(str(tmp_path))


def test_self_signed(tmp_path: Path) -> None:
    certificate, key = self_signed(["localhost", "127.0.0.1", "::1"], days=3)
    (tmp_path / "demo.pem").write_bytes(certificate + key)
    found = load(str(tmp_path / "demo.pem"))
    assert found.names == ("localhost", "127.0.0.1", "::1")
    assert 2 * 86400 < found.expires - time.time() <= 3 * 86400


def test_a_folder_with_a_file_that_is_nothing_says_which(tmp_path: Path) -> None:
    write(issue("a.example"), tmp_path, "a")
    (tmp_path / "b.pem").write_text("junk")
    with pytest.raises(CertificateError, match=r"b\.pem: neither a certificate nor a key"):
        load_folder(str(tmp_path))
