"""What is used of pyOpenSSL's private names: it is there, works, and is in one module."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from OpenSSL import SSL

import lbproxy
from lbproxy.tls import openssl
from lbproxy.tls.contexts import ClientContextFactory, ServerContextFactory
from tests.support.tls import ca_file, pair
from tests.tls.test_contexts import connect

PRIVATE = re.compile(
    r"\bSSL\._|\bcrypto\._|getattr\((?:SSL|crypto), \"_|_raise_ssl_error|\bOpenSSL\._|"
    r"(?:connection|context)\._(?:ssl|context)\b"
)


def test_no_other_module_uses_them() -> None:
    root = Path(lbproxy.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if PRIVATE.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"tls/openssl.py"}


@pytest.mark.parametrize("name", ["ssl_read", "ssl_write", "ffi", "clear_errors"])
def test_they_are_there(name: str) -> None:
    assert getattr(openssl, name) is not None


def test_reading_and_writing(tmp_path: Path) -> None:
    server = ServerContextFactory([pair(tmp_path, "a.example")])
    near, far = connect(ClientContextFactory("a.example", ca=ca_file(tmp_path)), server)
    assert openssl.ssl_write(openssl.ssl_of(near), b"hello", 5) == 5
    far.bio_write(near.bio_read(65536))
    memory = openssl.ffi.new("char[]", 16)
    assert openssl.ssl_read(openssl.ssl_of(far), memory, 16) == 5
    assert openssl.ffi.buffer(memory, 5)[:] == b"hello"
    nothing = openssl.ssl_read(openssl.ssl_of(far), memory, 16)
    with pytest.raises(SSL.WantReadError):
        openssl.raise_of(far)(openssl.ssl_of(far), nothing)
    openssl.clear_errors()


def test_groups() -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    assert openssl.set_groups(context, ["X25519", "P-256"])
    assert not openssl.set_groups(context, ["nonsense"])
    assert openssl.raise_of(object()) is None, "a version without it"
