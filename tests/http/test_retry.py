"""The words of ``retry_on``, and the pauses between attempts."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.config.model import BackendSpec
from lbproxy.errors import MEANING, Kind
from lbproxy.http.retry import BACKOFF_CAP, CAUSE, RetryPolicy, cause_of, is_server_error


def test_the_default_is_what_the_table_of_errors_says() -> None:
    policy = RetryPolicy.of(BackendSpec().retry_on)
    assert policy.kinds == {kind for kind, meaning in MEANING.items() if meaning.retry}
    assert policy.statuses == frozenset()


@pytest.mark.parametrize(
    ("words", "kinds", "statuses"),
    [
        ((), set(), set()),
        (("connect",), {Kind.CONNECT_FAILED, Kind.CONNECT_TIMEOUT, Kind.SERVER_TLS}, set()),
        (("reset", "junk"), {Kind.SERVER_GONE, Kind.BAD_RESPONSE}, set()),
        (("timeout",), {Kind.RESPONSE_TIMEOUT, Kind.SERVER_TIMEOUT}, set()),
        (("503", "429"), set(), {503, 429}),
    ],
)
def test_words(words, kinds, statuses) -> None:
    policy = RetryPolicy.of(words)
    assert policy.kinds == kinds | {Kind.SERVER_DOWN}
    assert policy.statuses == statuses


def test_every_5xx_but_those_that_say_nothing_about_health() -> None:
    statuses = RetryPolicy.of(["5xx"]).statuses
    assert {500, 502, 503, 504, 599} < set(statuses)
    assert not {501, 505, 499, 600} & set(statuses)
    assert all(map(is_server_error, statuses))


def test_a_cause_is_only_ever_the_servers() -> None:
    for kind in Kind:
        word = cause_of(kind)
        assert (word == "") or (kind in CAUSE[word] and MEANING[kind].side == "server")


@given(st.integers(1, 10_000), st.floats(0.001, 60), st.integers())
def test_pauses_are_bounded(attempts: int, backoff: float, seed: int) -> None:
    policy = RetryPolicy.of((), backoff)
    pause = policy.pause(attempts, Random(seed).random)
    assert 0 <= pause <= backoff * min(2 ** min(attempts - 1, 20), BACKOFF_CAP)
    assert RetryPolicy.of(()).pause(attempts, Random(seed).random) == 0


def test_pauses_double_and_are_spread() -> None:
    policy = RetryPolicy.of((), 0.1)
    longest = [policy.pause(n, lambda: 1.0) for n in range(1, 7)]
    assert longest == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert policy.pause(3, lambda: 0.25) == pytest.approx(0.1)
