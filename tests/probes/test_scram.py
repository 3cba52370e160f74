"""SCRAM-SHA-256 by the example of RFC 7677, and SASLprep by those of RFC 4013."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.probes.scram import ScramClient, ScramError, saslprep

scramp = pytest.importorskip("scramp")

SERVER_FIRST = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def client() -> ScramClient:
    return ScramClient("pencil", lambda: "rOprNGfwEbeRWgbNEkqO", "user")


def test_rfc_7677() -> None:
    one = client()
    assert one.first == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert one.reply(SERVER_FIRST) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not one.verified
    one.verify(SERVER_FINAL)
    assert one.verified


def test_a_final_message_without_a_first() -> None:
    with pytest.raises(ScramError, match="malformed"):
        client().verify(SERVER_FINAL)


def test_a_nonce_that_is_only_ours() -> None:
    with pytest.raises(ScramError, match="does not continue ours"):
        client().reply(b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")


@given(st.binary(max_size=100))
def test_anything_else_is_an_error(data: bytes) -> None:
    one = client()
    with pytest.raises(ScramError):
        one.reply(data)
    with pytest.raises(ScramError):
        one.verify(data)


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0007", "\u0007"),  # prohibited: as it is
        ("\u06271", "\u06271"),  # mixes directions: as it is
        ("\u00ad", "\u00ad"),  # nothing would be left
    ],
)
def test_saslprep(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@given(st.text(min_size=1, max_size=20))
def test_saslprep_against_another_one(text: str) -> None:
    try:
        wanted = scramp.core.saslprep(text)
    except scramp.ScramException:
        wanted = text
    assert saslprep(text) == (wanted or text)
