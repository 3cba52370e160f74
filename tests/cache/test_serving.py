"""What a stored response is used for (RFC 9111 §4), and the extensions of RFC 5861."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.asked import ask
from lbproxy.cache.policy import Cookies, NoCache, Policy
from lbproxy.cache.serving import Use, decide, usable_on_error
from lbproxy.http.message import RequestHead
from tests.cache.conftest import NOW, kept, request, response

PLAIN = Policy()


def use(
    control: str, after: float, asking: RequestHead | None = None, policy: Policy = PLAIN
) -> Use:
    """What a response with ``control`` is used for, ``after`` seconds old."""
    one = kept(request(), response(Cache_Control=control, ETag='"x"'), policy)
    return decide(one, ask(asking or request(), policy), policy, NOW + after).use


@pytest.mark.parametrize(
    ("control", "after", "expected"),
    [
        ("max-age=60", 59, Use.SERVE),
        ("max-age=60", 60, Use.VALIDATE),
        ("max-age=60, no-cache", 1, Use.VALIDATE),
        ("max-age=60, stale-while-revalidate=30", 89, Use.SERVE_AND_REFRESH),
        ("max-age=60, stale-while-revalidate=30", 90, Use.VALIDATE),
        ("max-age=60, stale-while-revalidate=30, must-revalidate", 70, Use.VALIDATE),
        ("max-age=60, stale-while-revalidate=30, proxy-revalidate", 70, Use.VALIDATE),
        ("s-maxage=60, stale-while-revalidate=30", 70, Use.SERVE_AND_REFRESH),
        ("max-age=60, stale-if-error=30", 70, Use.VALIDATE),
    ],
)
def test_uses(control: str, after: float, expected: Use) -> None:
    assert use(control, after) is expected


@pytest.mark.parametrize(
    ("asking", "after", "expected"),
    [
        (request(Cache_Control="no-cache"), 1, Use.VALIDATE),
        (request(Cache_Control="max-age=0"), 1, Use.VALIDATE),
        (request(Cache_Control="max-age=10"), 9, Use.SERVE),
        (request(Cache_Control="max-age=10"), 11, Use.VALIDATE),
        (request(Cache_Control="max-age=10, max-stale=5"), 14, Use.SERVE),
        (request(Cache_Control="min-fresh=10"), 49, Use.SERVE),
        (request(Cache_Control="min-fresh=10"), 51, Use.VALIDATE),
        (request(Cache_Control="max-stale=10"), 69, Use.SERVE),
        (request(Cache_Control="max-stale=10"), 71, Use.VALIDATE),
        (request(Cache_Control="max-stale"), 10_000, Use.SERVE),
        (request(Pragma="no-cache"), 1, Use.VALIDATE),
        (request(Pragma="no-cache", Cache_Control="max-age=10"), 1, Use.SERVE),
        (request(Pragma="x"), 1, Use.SERVE),
    ],
)
def test_directives_of_requests(asking: RequestHead, after: float, expected: Use) -> None:
    assert use("max-age=60", after, asking) is expected


def test_client_no_cache() -> None:
    asking = request(Cache_Control="no-cache")
    assert use("max-age=60", 1, asking, Policy(client_no_cache=NoCache.OBEY)) is Use.REPLACE
    ignoring = Policy(client_no_cache=NoCache.IGNORE)
    assert use("max-age=60", 1, asking, ignoring) is Use.SERVE
    assert use("max-age=60, no-cache", 1, asking, ignoring) is Use.VALIDATE


def test_grace() -> None:
    policy = Policy(grace=100, grace_refresh=10)
    assert use("max-age=60", 65, policy=policy) is Use.SERVE_AND_REFRESH
    assert use("max-age=60", 75, policy=policy) is Use.VALIDATE
    assert use("s-maxage=60", 65, policy=policy) is Use.VALIDATE
    assert use("max-age=60, must-revalidate", 65, policy=policy) is Use.VALIDATE


@pytest.mark.parametrize(
    ("control", "after", "rule"),
    [
        ("max-age=60", 30, "fresh"),
        ("max-age=60", 159, "grace"),
        ("max-age=60", 161, None),
        ("s-maxage=60", 70, None),
        ("s-maxage=60, stale-if-error=20", 70, "stale-if-error"),
        ("max-age=60, stale-if-error=20", 70, "stale-if-error"),
        ("max-age=60, must-revalidate", 70, None),
        ("max-age=60, no-cache", 30, None),
        ("max-age=60, proxy-revalidate, stale-if-error=20", 70, None),
    ],
)
def test_errors(control: str, after: float, rule: str | None) -> None:
    policy = Policy(grace=100)
    one = kept(request(), response(Cache_Control=control, ETag='"x"'), policy)
    assert usable_on_error(one, ask(request(), policy), policy, NOW + after) == rule


def test_soft_purge() -> None:
    soft = kept(request(), response(Cache_Control="max-age=60")).softly_purged()
    asked = ask(request(), PLAIN)
    assert decide(soft, asked, PLAIN, NOW + 1).use is Use.SERVE_AND_REFRESH
    strict = evolve(soft, control=evolve(soft.control, must_revalidate=True))
    assert decide(strict, asked, PLAIN, NOW + 1).use is Use.VALIDATE
    assert usable_on_error(soft, asked, PLAIN, NOW + 1) is None
    assert usable_on_error(soft, asked, Policy(grace=5), NOW + 1) == "grace"
    swr = kept(request(), response(Cache_Control="max-age=60, stale-while-revalidate=5"))
    assert decide(swr.softly_purged(), asked, PLAIN, NOW + 64).use is Use.SERVE_AND_REFRESH
    assert decide(swr.softly_purged(), asked, PLAIN, NOW + 65).use is Use.VALIDATE
    aged = kept(request(), response(Cache_Control="max-age=60", Age="50")).softly_purged()
    assert decide(aged, asked, PLAIN, NOW + 11).use is Use.VALIDATE


def test_cookies_that_nobody_named() -> None:
    asking = request(Cookie="sid=1")
    assert use("max-age=60", 1, asking) is Use.REFUSE
    assert use("max-age=60, public", 1, asking) is Use.SERVE
    named = Policy(cookies=Cookies(ignore=("sid",)))
    assert use("max-age=60", 1, asking, named) is Use.SERVE


@given(
    st.integers(0, 1000),
    st.floats(0, 2000),
    st.sampled_from(["", ", must-revalidate", ", proxy-revalidate", ", no-cache"]),
    st.sampled_from(["", "max-stale", "max-stale=50", "min-fresh=5", "max-age=100"]),
    st.sampled_from([PLAIN, Policy(grace=50, grace_refresh=20)]),
)
def test_a_response_that_forbids_it_is_never_used_stale(
    lifetime: int, after: float, more: str, asking: str, policy: Policy
) -> None:
    head = request(Cache_Control=asking) if asking else request()
    got = use(f"max-age={lifetime}{more}", after, head, policy)
    stale = after >= lifetime
    if more and stale:
        assert got is Use.VALIDATE
    if got is Use.SERVE and not asking:
        assert not stale
