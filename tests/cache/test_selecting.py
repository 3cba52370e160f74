"""Keys, Vary, conditions and ranges: which stored bytes answer a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cache.asked import ask
from lbproxy.cache.conditions import is_not_modified, range_allowed
from lbproxy.cache.invalidation import invalidated_urls
from lbproxy.cache.key import key_of, sent_headers, sent_target, url_of
from lbproxy.cache.ownrequest import own_request
from lbproxy.cache.policy import Cookies, Policy, Query
from lbproxy.cache.ranges import MOST_RANGES, Span, multipart, spans
from lbproxy.cache.stored import Stored
from lbproxy.cache.updating import is_same, updated
from lbproxy.cache.vary import matching
from lbproxy.http.message import ResponseHead
from tests.cache.conftest import NOW, date, kept, request, response


def key(target: str = "/a", policy: Policy = Policy(), **headers: str) -> tuple[bytes, ...]:  # noqa: B008
    return key_of(request(target=target, **headers), policy, b"http", b"app")


def test_keys_differ_by_what_can_change_the_response() -> None:
    keys = [key("/a"), key("/a?"), key("/a?b"), key("/A"), key("/a/"), key("/%61")]
    assert len(set(keys)) == len(keys)
    assert key_of(request(), Policy(), b"http", b"other") != key()
    assert key_of(request(), Policy(), b"https", b"app") != key()
    assert key(Cookie="a=1") == key()


def test_the_query_of_a_key() -> None:
    policy = Policy(query=Query(sort=True, ignore=("utm_*",)))
    assert key("/a?b=2&a=1&utm_x=3", policy) == key("/a?a=1&b=2", policy)
    assert key("/a?a=2&a=1", policy) != key("/a?a=1&a=2", policy), "order within a name matters"
    assert key("/a?utm_x=1", policy) == key("/a?utm_y=1", policy)
    keep = Policy(query=Query(keep=("page", "q")))
    assert key("/a?page=1&x=2", keep) == key("/a?page=1", keep)


def test_what_does_not_matter_is_not_sent() -> None:
    policy = Policy(query=Query(sort=True, ignore=("utm_*",)), cookies=Cookies(ignore=("_ga*",)))
    assert sent_target(request(target="/a?b=2&utm_x=%22&a=1"), policy) == b"/a?a=1&b=2"
    assert sent_target(request(target="/a?utm_x=1"), policy) == b"/a"
    headers = request(Cookie="_ga=1; lang=de; _gat=2", X="y").headers
    assert sent_headers(headers, policy)[1:] == [(b"Cookie", b"lang=de"), (b"X", b"y")]
    assert sent_headers(request(Cookie="_ga=1").headers, policy) == [(b"Host", b"h")]


def test_a_target_that_a_filter_changed_is_part_of_the_key() -> None:
    head = request(target="/api/a")
    head.checked = head.target
    plain = key_of(head, Policy(), b"http", b"app")
    head.target = b"/a"
    assert key_of(head, Policy(), b"http", b"app") not in (plain, key("/a"))
    assert url_of(head, Policy(), b"http") == b"http://h/api/a"


@given(st.lists(st.sampled_from(["a=1", "a=2", "b=1", "utm_x=1", "a", ""]), max_size=6))
def test_query_rules_are_idempotent(parts: list[str]) -> None:
    query = Query(sort=True, ignore=("utm_*",))
    once = query.apply("&".join(parts).encode())
    assert query.apply(once) == once


def test_cookies_of_a_key() -> None:
    policy = Policy(cookies=Cookies(ignore=("_ga*",), key=("lang",)))
    assert key("/a", policy, Cookie="lang=en; _ga=1") == key("/a", policy, Cookie="lang=en")
    assert key("/a", policy, Cookie="lang=en") != key("/a", policy, Cookie="lang=de")
    assert key("/a", policy, Cookie="lang=en") != key("/a", policy)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (request("POST"), "method"),
        (request(length=5), "request has a body"),
        (request(X_Original_URL="/x"), "x-original-url"),
        (request(X_HTTP_Method_Override="PUT"), "x-http-method-override"),
        (request(X_HTTP_Method="HEAD"), "x-http-method"),
        (request(X_Method_Override="PUT"), "x-method-override"),
        (request(Cookie="wordpress_logged_in_1=x"), "cookie bypasses"),
        (request(Cookie="other=x"), None),
        (request("HEAD"), None),
    ],
)
def test_obstacles(head: object, reason: str | None) -> None:
    policy = Policy(cookies=Cookies(bypass=("wordpress_logged_in_*",)))
    assert ask(head, policy).obstacle == reason  # type: ignore[arg-type]


def variant(vary: str, received: float = NOW, **headers: str) -> Stored:
    answer = response(Cache_Control="max-age=60", Vary=vary)
    one = kept(request(**headers), answer)
    object.__setattr__(one, "received", received)
    return one


def test_vary_selects() -> None:
    english = variant("Accept-Language", Accept_Language="en")
    german = variant("Accept-Language", Accept_Language="de")
    both = [english, german]
    assert matching(both, request(Accept_Language="de")) is german
    assert matching(both, request(Accept_Language="fr")) is None
    assert matching(both, request()) is None
    newer = variant("Accept-Language", NOW + 5, Accept_Language="de")
    assert matching([newer, *both], request(Accept_Language="de")) is newer


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("gzip, br", "br;q=1.0, gzip;q=0.8, sdch", True),
        ("gzip", "gzip, br", False),
        ("gzip;q=0", "", True),
        ("identity", "", True),
        ("gzip", "GZIP", True),
        ("*", "gzip", False),
        ("gzip, br;q=0", "gzip", True),
        ("*, gzip;q=0", "*", False),
    ],
)
def test_accept_encoding_is_normalised(first: str, second: str, same: bool) -> None:
    one = variant("Accept-Encoding", Accept_Encoding=first)
    assert (matching([one], request(Accept_Encoding=second)) is one) is same


@pytest.mark.parametrize(
    ("name", "first", "second", "same"),
    [
        ("X-User", "ann lee", "annlee", False),
        ("X-User", '"a , b"', '"a,b"', False),
        ("X-User", "Ann", "ann", False),
        ("X-User", " ann ", "ann", True),
        ("Accept-Language", "de, en;q=0.5", "DE,en; q=0.5", True),
        ("Accept-Language", "de", "en", False),
    ],
)
def test_only_lists_are_normalised(name: str, first: str, second: str, same: bool) -> None:
    field = name.replace("-", "_")
    one = variant(name, **{field: first})
    assert (matching([one], request(**{field: second})) is one) is same


def test_two_cookies_of_one_name_keep_their_order() -> None:
    policy = Policy(cookies=Cookies(key=("lang", "z")))
    keys = [
        key_of(request(Cookie=value), policy, b"http", b"app")
        for value in ("lang=de; lang=en; z=1", "z=1; lang=de; lang=en", "lang=en; lang=de; z=1")
    ]
    assert keys[0] == keys[1] != keys[2]


PAGE = kept(
    request(),
    response(Cache_Control="max-age=60", ETag='"v1"', Last_Modified=date(NOW - 100)),
)


@pytest.mark.parametrize(
    ("headers", "not_modified"),
    [
        ({"If_None_Match": '"v1"'}, True),
        ({"If_None_Match": 'W/"v1"'}, True),
        ({"If_None_Match": '"v0", "v1"'}, True),
        ({"If_None_Match": "*"}, True),
        ({"If_None_Match": '"v2"'}, False),
        ({"If_None_Match": "v1"}, False),
        ({"If_None_Match": '"v2"', "If_Modified_Since": date(NOW)}, False),
        ({"If_Modified_Since": date(NOW - 100)}, True),
        ({"If_Modified_Since": date(NOW - 101)}, False),
        ({"If_Modified_Since": "x"}, False),
        ({}, False),
    ],
)
def test_conditions(headers: dict[str, str], not_modified: bool) -> None:
    assert is_not_modified(PAGE, request(**headers), NOW) is not_modified


@pytest.mark.parametrize("tag", ["v1", 'w/"v1"', 'W"v1"', "W/v1", '"v1'])
def test_a_malformed_entity_tag_matches_itself_alone(tag: str) -> None:
    page = kept(request(), response(Cache_Control="max-age=60", ETag=tag))
    assert is_not_modified(page, request(If_None_Match=tag), NOW)
    assert not is_not_modified(page, request(If_None_Match=tag.upper().replace("V1", "V2")), NOW)
    assert not is_not_modified(page, request(If_None_Match='"v3"'), NOW)


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ('"v1"', True),
        ('W/"v1"', False),
        ('"v2"', False),
        (date(NOW - 100), True),
        (date(NOW - 99), False),
        ("x", False),
    ],
)
def test_if_range(value: str, allowed: bool) -> None:
    assert range_allowed(PAGE, request(If_Range=value), NOW) is allowed


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-0", [Span(0, 0)]),
        (b"bytes=5-", [Span(5, 9)]),
        (b"bytes=-3", [Span(7, 9)]),
        (b"bytes=-30", [Span(0, 9)]),
        (b"bytes=0-100", [Span(0, 9)]),
        (b"bytes=10-", []),
        (b"bytes=-0", []),
        (b"bytes=0-1, 4-5", [Span(0, 1), Span(4, 5)]),
        (b"bytes=4-5,0-1", [Span(4, 5), Span(0, 1)]),
        (b"bytes=0-5,3-7", [Span(0, 7)]),
        (b"bytes=5-4", None),
        (b"bytes=a-4", None),
        (b"bytes=", None),
        (b"items=0-1", None),
        (b"bytes=--1", None),
        (b"bytes=" + b",".join([b"0-0"] * (MOST_RANGES + 1)), None),
    ],
)
def test_ranges(value: bytes, expected: list[Span] | None) -> None:
    assert spans([value], 10) == expected


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=5))
def test_no_byte_is_sent_twice(pairs: list[tuple[int, int]]) -> None:
    text = ",".join(f"{min(pair)}-{max(pair)}" for pair in pairs).encode()
    found = spans([b"bytes=" + text], 20)
    assert found is not None
    covered = [byte for span in found for byte in range(span.first, span.last + 1)]
    assert len(covered) == len(set(covered))
    wanted = {byte for pair in pairs for byte in range(min(pair), max(pair) + 1) if byte < 20}
    assert wanted == set(covered)


def test_multipart() -> None:
    pieces, length = multipart([Span(0, 1), Span(4, 5)], 10, b"text/plain", b"BOUND")
    body = b"0123456789"
    text = b"".join(
        piece.before + (body[piece.span.first : piece.span.last + 1] if piece.span else b"")
        for piece in pieces
    )
    assert len(text) == length
    assert text == (
        b"--BOUND\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n"
        b"--BOUND\r\nContent-Type: text/plain\r\nContent-Range: bytes 4-5/10\r\n\r\n45\r\n"
        b"--BOUND--\r\n"
    )


def test_a_304_refreshes() -> None:
    asking = request(If_None_Match='"mine"', Range="bytes=0-1", Accept="x")
    sent = own_request(asking, Policy(), 0, PAGE).headers
    assert (b"If-None-Match", b'"v1"') in sent
    assert not any(name.lower() == b"range" or value == b'"mine"' for name, value in sent)
    answer = response(304, ETag='"v1"', Cache_Control="max-age=500", X="new", Content_Length="9")
    assert is_same(PAGE, answer)
    fresh = updated(PAGE, asking, ask(asking, Policy()), answer, Policy(), (NOW + 90, NOW + 91))
    assert fresh is not None
    assert (fresh.lifetime, fresh.received, fresh.status) == (500, NOW + 91, 200)
    assert fresh.header(b"x") == b"new"
    assert fresh.header(b"last-modified") == PAGE.header(b"last-modified")
    assert fresh.length == PAGE.length
    assert not is_same(PAGE, response(304, ETag='"v2"'))
    assert is_same(PAGE, response(304, ETag='W/"v1"'))


def test_a_304_may_end_the_storing() -> None:
    answer = response(304, Cache_Control="no-store")
    asked = ask(request(), Policy())
    assert updated(PAGE, request(), asked, answer, Policy(), (NOW, NOW)) is None


@pytest.mark.parametrize(
    ("method", "answer", "urls"),
    [
        ("GET", response(), []),
        ("POST", response(404), []),
        ("POST", response(), ["http://h/a"]),
        ("PUT", response(Location="/b?c#d"), ["http://h/a", "http://h/b?c"]),
        ("DELETE", response(Content_Location="b"), ["http://h/a", "http://h/b"]),
        ("POST", response(Location="http://other/b"), ["http://h/a"]),
        ("POST", response(Location="https://h/b"), ["http://h/a"]),
        ("POST", response(Location="http://[/b"), ["http://h/a"]),
        ("X-NEW", response(303, Location="//h"), ["http://h/a", "http://h/"]),
    ],
)
def test_invalidation(method: str, answer: object, urls: list[str]) -> None:
    found = invalidated_urls(b"http://h/a", request(method), answer)  # type: ignore[arg-type]
    assert found == [url.encode() for url in urls]


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (b"/a?", b"http://h/a?"),
        (b"/a?#b", b"http://h/a?"),
        (b"/a#b?", b"http://h/a"),
        (b"/gr\xc3\xbcn b", b"http://h/gr%C3%BCn%20b"),
    ],
)
def test_a_location_names_the_url_that_clients_send(location: bytes, url: bytes) -> None:
    answer = ResponseHead(201, [(b"Location", location)])
    assert invalidated_urls(b"http://h/x", request("POST"), answer) == [b"http://h/x", url]
