"""OpenSSL's errors in plain words: the cause is named, not what it led to."""

from __future__ import annotations

import pytest
from OpenSSL import SSL, crypto

from lbproxy.tls.errorwords import chain_words, openssl_words, speaks_http, tls_error_text


def error(*reasons: str) -> SSL.Error:
    return SSL.Error([("SSL routines", "", reason) for reason in reasons])


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (("http request",), "the peer speaks plain HTTP, not TLS"),
        (("no shared cipher",), "no cipher in common"),
        (("no start line", "PEM lib"), "no start line"),
        (("bad decrypt", "ssl/tls alert bad certificate"), "bad decrypt"),
        (("ssl/tls alert bad certificate",), "the peer refused: bad certificate"),
        (("tlsv1 alert unknown ca",), "the peer refused: unknown ca"),
        (("ee key too small", "PEM lib"), "the certificate's key is too small"),
        (("something new",), "something new"),
        ((), "TLS error"),
    ],
)
def test_words(reasons: tuple[str, ...], words: str) -> None:
    assert openssl_words(error(*reasons)) == words


def test_who_leaves_is_said_to_have_left() -> None:
    for gone in (
        SSL.SysCallError(104, "ECONNRESET"),
        error("unexpected eof while reading"),
        SSL.Error([]),
        OSError("x"),
    ):
        assert tls_error_text(gone) == "the peer closed the connection during the handshake"
    assert tls_error_text(error("no shared cipher")) == "no cipher in common"


def test_other_errors_keep_their_text() -> None:
    assert openssl_words(TypeError("not a key")) == "not a key"
    assert openssl_words(crypto.Error([("x", "", "no start line")])) == "no start line"
    assert chain_words(10) == "certificate expired" and chain_words(999) == "verification error 999"


def test_plain_http_is_known_by_the_reason() -> None:
    assert speaks_http(error("http request")) and not speaks_http(error("wrong version number"))
    assert not speaks_http(None) and not speaks_http(OSError("http request"))
