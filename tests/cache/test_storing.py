"""What is stored (RFC 9111 §3), and what of it."""

from __future__ import annotations

import pytest
from attrs import evolve

from lbproxy.cache.policy import TTL, Cookies, Policy, SetCookie
from lbproxy.cache.stored import Stored
from lbproxy.cache.storing import Refusal
from lbproxy.cache.vary import selects
from tests.cache.conftest import NOW, date, kept, request, response, stored

FRESH = {"Cache_Control": "max-age=60"}


@pytest.mark.parametrize(
    "answer",
    [
        response(**FRESH),
        response(404, **FRESH),
        response(500, **FRESH),
        response(302, **FRESH),
        response(ETag='"x"'),
        response(Last_Modified=date(NOW - 1000)),
        response(404),
        response(Cache_Control="max-age=0", ETag='"x"'),
        response(Cache_Control="no-cache, max-age=60"),
        response(Cache_Control="max-age=60, no-store, must-understand"),
        response(Cache_Control="public, max-age=60", Vary="Accept"),
        response(Cache_Control="private", CDN_Cache_Control="max-age=60"),
        response(Cache_Control="max-age=0, stale-while-revalidate=60"),
    ],
)
def test_stored(answer: object) -> None:
    assert isinstance(stored(request(), answer), Stored)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response(), "no lifetime"),
        (response(Cache_Control="max-age=60, no-store"), "no-store"),
        (response(299, Cache_Control="max-age=60, no-store, must-understand"), "status 299"),
        (response(Cache_Control="max-age=60, private"), "private"),
        (response(Cache_Control="max-age=60", CDN_Cache_Control="private"), "private"),
        (response(Cache_Control="max-age=60", Vary="Accept, *"), "Vary: *"),
        (response(Cache_Control="max-age=60", Vary="Accept;q=1"), "Vary: *"),
        (response(Cache_Control="max-age=60", Vary='X, "Accept"'), "Vary: *"),
        (response(Cache_Control="max-age=60", Vary="Accept Cookie"), "Vary: *"),
        (response(Cache_Control="max-age=60", Set_Cookie="a=b"), "Set-Cookie"),
        (response(Cache_Control="max-age=60, public", Set_Cookie="a=b"), "Set-Cookie"),
        (response(206, Cache_Control="max-age=60"), "partial"),
        (response(304, Cache_Control="max-age=60"), "status 304"),
        (response(Cache_Control="max-age=0"), "stale at once"),
        (response(Cache_Control="max-age=60", Age="100"), "stale at once"),
        (response(302, ETag='"x"'), "status 302 without stated freshness"),
        (response(Expires="0"), "Expires that is no date"),
    ],
)
def test_refused(answer: object, reason: str) -> None:
    found = stored(request(), answer)  # type: ignore[arg-type]
    assert isinstance(found, Refusal)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("control", "ok"),
    [
        ("max-age=60", False),
        ("max-age=60, public", True),
        ("s-maxage=60", True),
        ("max-age=60, must-revalidate", True),
        ("max-age=60, proxy-revalidate", False),
    ],
)
def test_authorization(control: str, ok: bool) -> None:
    found = stored(request(Authorization="Basic eA=="), response(Cache_Control=control))
    assert isinstance(found, Stored) is ok


@pytest.mark.parametrize(
    ("headers", "ok"),
    [
        ({"Cache_Control": "max-age=60"}, False),
        ({"Cache_Control": "max-age=60, public"}, True),
        ({"Cache_Control": "s-maxage=60"}, True),
        ({"CDN_Cache_Control": "max-age=60"}, True),
        ({"CDN_Cache_Control": "max-age=0", "ETag": '"x"'}, False),
    ],
)
def test_requests_with_cookies(headers: dict[str, str], ok: bool) -> None:
    asking = request(Cookie="sid=1; theme=dark")
    assert isinstance(stored(asking, response(**headers)), Stored) is ok
    policy = Policy(cookies=Cookies(ignore=("theme",), key=("sid",)))
    assert isinstance(stored(asking, response(**headers), policy), Stored)
    partly = Policy(cookies=Cookies(ignore=("theme",)))
    assert isinstance(stored(asking, response(**headers), partly), Stored) is ok


def test_set_cookie_by_policy() -> None:
    answer = response(Cache_Control="max-age=60", Set_Cookie="a=b", X="y")
    stripped = kept(request(), answer, Policy(set_cookie=SetCookie.STRIP))
    assert stripped.header(b"set-cookie") is None
    assert stripped.header(b"x") == b"y"
    whole = kept(request(), answer, Policy(set_cookie=SetCookie.STORE))
    assert whole.header(b"set-cookie") == b"a=b"


def test_fields_that_are_not_stored() -> None:
    answer = response(
        Cache_Control='max-age=60, private="X-User"',
        Connection="X-Hop",
        X_Hop="1",
        X_User="u",
        Keep_Alive="timeout=5",
        Content_Type="text/plain",
    )
    answer.nominated = (b"x-hop",)
    names = {name.lower() for name, _ in kept(request(), answer).headers}
    assert names == {b"date", b"cache-control", b"content-type"}


def test_lines_of_ttl() -> None:
    policy = Policy(
        ttl=(
            TTL(10, statuses=frozenset({404, 410}), line="404,410 10s"),
            TTL(500, type="image/*", line="type image/* 500s"),
            TTL(7, path="/a", force=True, line="path /a 7s force"),
            TTL(600, default=True, line="default 10m"),
        )
    )
    assert kept(request(), response(404), policy).lifetime == 10
    picture = response(Content_Type="Image/PNG; x", Cache_Control="max-age=60")
    assert kept(request(target="/b"), picture, policy).lifetime == 500
    secret = response(Content_Type="image/png", Cache_Control="no-store")
    assert isinstance(stored(request(target="/b"), secret, policy), Refusal)
    forced = kept(request(), response(Cache_Control="no-store"), policy)
    assert (forced.lifetime, forced.rule) == (7, "ttl path /a 7s force")
    assert kept(request(target="/b"), response(), policy).lifetime == 600
    stated = response(Cache_Control="max-age=60")
    assert kept(request(target="/b"), stated, policy).lifetime == 60


LINES = (TTL(500, path="/a", line="path /a 500s"), TTL(600, default=True, line="default 10m"))


@pytest.mark.parametrize("status", [400, 401, 403, 408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("path", ["/a", "/b"])
def test_a_line_of_ttl_stores_an_error_only_if_it_names_the_status(status: int, path: str) -> None:
    asked = request(target=path)
    assert isinstance(stored(asked, response(status), Policy(ttl=LINES)), Refusal)
    if status not in (408, 429):  # these are about one request
        stated = response(status, Cache_Control="max-age=60")
        assert kept(asked, stated, Policy(ttl=LINES)).lifetime == 60
    named = TTL(7, statuses=frozenset({status}), line="named")
    assert kept(asked, response(status), Policy(ttl=(*LINES, named))).lifetime == 7


@pytest.mark.parametrize("status", [404, 405, 410, 414, 501])
def test_a_line_of_ttl_applies_to_errors_that_have_a_lifetime(status: int) -> None:
    assert kept(request(), response(status), Policy(ttl=LINES)).lifetime == 500


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PURGE"])
def test_other_methods(method: str) -> None:
    assert isinstance(stored(request(method), response(**FRESH)), Refusal)


def test_no_store_of_a_request() -> None:
    assert isinstance(stored(request(Cache_Control="no-store"), response(**FRESH)), Refusal)


def test_tags_and_groups() -> None:
    answer = response(
        Cache_Control="max-age=60",
        Surrogate_Key="a b",
        Cache_Tag="c d, e",
        xkey="f",
        Cache_Groups='"g", "h i";x=1, 5',
    )
    found = kept(request(), answer)
    assert found.tags == {b"a", b"b", b"c d", b"e", b"f"}
    assert found.groups == {b"g", b"h i"}
    broken = response(Cache_Control="max-age=60", Cache_Groups='"g')
    assert kept(request(), broken).groups == frozenset()


def test_fields_that_are_not_for_everybody_are_not_kept() -> None:
    control = 'max-age=60, no-cache="X-One", private="X-Two"'
    answer = response(Cache_Control=control, X_One="1", X_Two="2", X_Three="3")
    one = kept(request(), answer)
    assert [one.header(name) for name in (b"x-one", b"x-two", b"x-three")] == [None, None, b"3"]
    forced = Policy(ttl=(TTL(9, force=True, line="9s force"),))
    cookie = response(Set_Cookie="a=b")
    assert kept(request(), cookie, forced).header(b"set-cookie") is None
    forced = evolve(forced, set_cookie=SetCookie.STORE)
    assert kept(request(), cookie, forced).header(b"set-cookie") == b"a=b"


@pytest.mark.parametrize("vary", ["Accept-Encoding, *", "Accept-Encoding, a;b", "Accept-Encoding"])
def test_a_forced_response_still_depends_on_the_fields_in_vary(vary: str) -> None:
    policy = Policy(ttl=(TTL(9, force=True, line="9s force"),))
    asked = request(Accept_Encoding="gzip")
    stored = kept(asked, response(Vary=vary), policy)
    assert selects(stored.selected, asked)
    assert not selects(stored.selected, request())
