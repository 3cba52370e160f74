"""Tokens, answers and passes: what is signed, for whom, and for how long."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.challenge.proof import ANSWER_S, AnswerError, Pass, Proofs, zero_bits
from tests.support.proof import solve

NOW = 1_800_000_000.0
HOUR = 3600.0
PROOFS = Proofs(b"k" * 32)


def earned(prefix: str = "192.0.2.1", now: float = NOW) -> Pass:
    token = PROOFS.token(prefix, 4, now)
    return PROOFS.judge(token, str(solve(token, 4)), prefix, now)


def test_an_answer_is_judged_and_earns_a_pass() -> None:
    found = earned()
    assert found == Pass(int(NOW), 4)
    value = PROOFS.make_pass(found, "192.0.2.1")
    assert PROOFS.admits(value, "192.0.2.1", 4, HOUR, NOW)


def test_a_token_and_the_digits_of_an_answer_are_one_block_of_sha256() -> None:
    token = PROOFS.token("192.0.2.1", 18, NOW)
    assert len(token) + 15 + 9 <= 64 and len(token) == 36


@given(st.integers(0, 35), st.characters(codec="ascii"))
def test_any_change_of_a_token_is_found(at: int, other: str) -> None:
    token = PROOFS.token("192.0.2.1", 4, NOW)
    changed = token[:at] + other + token[at + 1 :]
    if changed != token:
        with pytest.raises(AnswerError):
            PROOFS.judge(changed, str(solve(changed, 4)), "192.0.2.1", NOW)


@given(st.integers(0, 27), st.characters(codec="ascii"))
def test_any_change_of_a_pass_is_found(at: int, other: str) -> None:
    value = PROOFS.make_pass(Pass(int(NOW), 4), "192.0.2.1")
    changed = value[:at] + other + value[at + 1 :]
    assert PROOFS.admits(changed, "192.0.2.1", 0, HOUR, NOW) == (changed == value)


@given(st.text(max_size=60))
def test_any_text_is_judged(text: str) -> None:
    assert not PROOFS.admits(text, "192.0.2.1", 0, HOUR, NOW)
    with pytest.raises(AnswerError):
        PROOFS.judge(text, "0", "192.0.2.1", NOW)


def test_another_prefix_and_another_secret_have_other_signatures() -> None:
    token = PROOFS.token("192.0.2.1", 4, NOW)
    answer = str(solve(token, 4))
    for proofs, prefix in ((PROOFS, "192.0.2.2"), (Proofs(b"x" * 32), "192.0.2.1")):
        with pytest.raises(AnswerError, match="issued elsewhere"):
            proofs.judge(token, answer, prefix, NOW)
        value = PROOFS.make_pass(Pass(int(NOW), 4), "192.0.2.1")
        assert not proofs.admits(value, prefix, 4, HOUR, NOW)


@pytest.mark.parametrize("answer", ["", "-1", "01", "1e3", "٣", "9" * 16, " 1", "+1", "0x1"])
def test_an_answer_is_a_plain_number(answer: str) -> None:
    token = PROOFS.token("192.0.2.1", 4, NOW)
    with pytest.raises(AnswerError, match="not a number"):
        PROOFS.judge(token, answer, "192.0.2.1", NOW)


def test_a_wrong_number_is_no_answer() -> None:
    token = PROOFS.token("192.0.2.1", 4, NOW)
    wrong = next(n for n in range(99) if zero_bits(sha256(f"{token}{n}".encode()).digest()) < 4)
    with pytest.raises(AnswerError, match="wrong"):
        PROOFS.judge(token, str(wrong), "192.0.2.1", NOW)


@given(st.floats(0, 2 * ANSWER_S), st.floats(0, 2 * HOUR))
def test_a_replayed_answer_gives_no_longer_pass(wait: float, later: float) -> None:
    token = PROOFS.token("192.0.2.1", 4, NOW)
    answer = str(solve(token, 4))
    first = PROOFS.make_pass(PROOFS.judge(token, answer, "192.0.2.1", NOW), "192.0.2.1")
    if wait <= ANSWER_S:
        again = PROOFS.judge(token, answer, "192.0.2.1", NOW + wait)
        assert PROOFS.make_pass(again, "192.0.2.1") == first
    else:
        with pytest.raises(AnswerError, match="too old"):
            PROOFS.judge(token, answer, "192.0.2.1", NOW + wait)
    assert PROOFS.admits(first, "192.0.2.1", 4, HOUR, NOW + later) == (later < HOUR)


def test_a_pass_of_less_work_or_of_the_future_does_not_count() -> None:
    value = PROOFS.make_pass(Pass(int(NOW), 4), "a")
    assert not PROOFS.admits(value, "a", 5, HOUR, NOW)
    assert PROOFS.admits(value, "a", 4, HOUR, NOW - 30)
    assert not PROOFS.admits(value, "a", 4, HOUR, NOW - 3000)


def test_keys_change_by_the_day_and_old_passes_still_count() -> None:
    value = PROOFS.make_pass(Pass(int(NOW), 4), "a")
    for day in range(30):
        PROOFS.token("a", 4, NOW + day * 86_400)
    assert len(PROOFS._keys) <= 10
    assert PROOFS.admits(value, "a", 4, 7 * 86_400, NOW + 6 * 86_400)


def test_a_token_is_no_pass() -> None:
    token = PROOFS.token("a", 4, NOW)
    assert not PROOFS.admits(token[:28], "a", 0, HOUR, NOW)


@pytest.mark.parametrize(
    ("digest", "bits"),
    [(b"\xff\x00", 0), (b"\x7f\xff", 1), (b"\x00\x80", 8), (b"\x00\x01", 15), (b"\x00\x00", 16)],
)
def test_zero_bits(digest: bytes, bits: int) -> None:
    assert zero_bits(digest) == bits
