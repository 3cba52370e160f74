"""The cache in front of servers: hits, collapsed fetches, refreshing, stale answers and purges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.config.errors import ConfigErrors
from lbproxy.proxy.features.caching.shown import stats_of
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from tests.support.caching import config_with, in_turn
from tests.support.purging import purged

MINUTE = {"Cache-Control": "max-age=60"}

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a load balancer with more lines in the sections cache, frontend and backend."""
    made = []

    def start(cache: str = "", frontend: str = "", backend: str = "") -> LoadBalancerFixture:
        lb = LB.from_config(config_with(cache, frontend, backend))
        made.append(lb)
        return lb

    yield start
    for lb in made:
        lb.close()


def serve(lb: LoadBalancerFixture, *answers: Any) -> Any:
    """An origin that gives ``answers`` in turn, the last one again and again."""
    return lb.origin("a", "10.0.0.1:80", in_turn(*answers))


def status(response: Response) -> str:
    """What the cache says."""
    return response.header("Cache-Status").removeprefix("main; ")


def test_a_fresh_response_is_served_from_memory(make: Make) -> None:
    lb = make()
    origin = serve(lb, Answer(200, b"one", MINUTE), Answer(200, b"two", MINUTE))
    first, second = lb.get("http://h/a"), lb.get("http://h/a")
    assert (first.body, second.body, len(origin.requests)) == (b"one", b"one", 1)
    assert status(first) == "fwd=uri-miss; fwd-status=200; ttl=60; stored"
    assert first.header("Age") == ""
    lb.advance(10)
    third = lb.get("http://h/a")
    assert (status(third), third.header("Age")) == ("hit; ttl=50", "10")
    assert lb.get("http://h/b").body == b"two"
    lb.advance(51)
    assert lb.get("http://h/a").body == b"two"
    assert len(origin.requests) == 3


def test_the_server_confirms_a_stale_response(make: Make) -> None:
    lb = make()
    stored = Answer(200, b"one", {**MINUTE, "ETag": '"v1"'})
    confirmed = Answer(304, b"", {"Cache-Control": "max-age=90", "ETag": '"v1"', "X-New": "1"})
    origin = serve(lb, stored, confirmed)
    lb.get("http://h/a")
    lb.advance(61)
    again = lb.get("http://h/a", headers={"If-None-Match": '"other"'})
    assert (again.status, again.body, again.header("X-New")) == (200, b"one", "1")
    assert status(again) == "fwd=stale; fwd-status=304; ttl=90; stored"
    assert origin.requests[1].header_values("If-None-Match") == ['"v1"']
    assert lb.get("http://h/a").header("Cache-Status") == "main; hit; ttl=90"
    assert len(origin.requests) == 2


NO_CACHE = {"Cache-Control": "no-cache"}
PRIVATE = {"Cache-Control": "private, max-age=60"}


@pytest.mark.parametrize(
    ("status_", "headers"),
    [(200, NO_CACHE), (200, PRIVATE), (200, {"Vary": "*"}), (301, NO_CACHE), (404, PRIVATE)],
)
def test_a_response_that_is_not_stored_removes_what_it_replaces(
    make: Make, status_: int, headers: dict[str, str]
) -> None:
    lb = make()
    origin = serve(lb, Answer(200, b"one", MINUTE), Answer(status_, b"two", headers))
    lb.get("http://h/a")
    assert lb.get("http://h/a", headers=NO_CACHE).body == b"two"
    assert lb.get("http://h/a").body == b"two"
    assert len(origin.requests) == 3


def test_a_response_with_another_vary_replaces_the_one_without(make: Make) -> None:
    lb = make()
    varied = Answer(200, b"two", {**MINUTE, "Vary": "X"})
    origin = serve(lb, Answer(200, b"one", MINUTE), varied)
    lb.get("http://h/a")
    lb.get("http://h/a", headers={**NO_CACHE, "X": "1"})
    assert lb.get("http://h/a", headers={"X": "1"}).body == b"two"
    assert lb.get("http://h/a", headers={"X": "2"}).body == b"two"
    assert len(origin.requests) == 3


@pytest.mark.parametrize("status_", [206, 401, 403, 429])
def test_what_says_nothing_about_the_resource_removes_nothing(make: Make, status_: int) -> None:
    lb = make()
    origin = serve(lb, Answer(200, b"one", MINUTE), Answer(status_, b"two", PRIVATE))
    lb.get("http://h/a")
    assert lb.get("http://h/a", headers=NO_CACHE).status == status_
    assert lb.get("http://h/a").body == b"one"
    assert len(origin.requests) == 2


def test_the_response_to_a_cookie_removes_nothing(make: Make) -> None:
    lb = make()
    public = Answer(200, b"one", {"Cache-Control": "public, max-age=60"})
    origin = serve(lb, public, Answer(200, b"two", PRIVATE))
    lb.get("http://h/a")
    assert lb.get("http://h/a", headers={**NO_CACHE, "Cookie": "me=1"}).body == b"two"
    assert lb.get("http://h/a").body == b"one"
    assert len(origin.requests) == 2


def test_a_request_with_no_store_is_confirmed_and_changes_nothing_stored(make: Make) -> None:
    lb = make()
    confirmed = Answer(304, b"", {"Cache-Control": "max-age=90", "ETag": '"v1"', "X-New": "1"})
    origin = serve(lb, Answer(200, b"one", {**MINUTE, "ETag": '"v1"'}), confirmed)
    lb.get("http://h/a")
    lb.advance(61)
    found = lb.get("http://h/a", headers={"Cache-Control": "no-store"})
    assert (found.body, found.header("Age"), found.header("X-New")) == (b"one", "0", "1")
    stale = lb.get("http://h/a", headers={"Cache-Control": "max-stale=100"})
    assert (stale.body, stale.header("Age"), stale.header("X-New")) == (b"one", "61", "")
    assert len(origin.requests) == 2


def test_a_304_that_forbids_storing_is_shown_with_its_fields(make: Make) -> None:
    lb = make()
    confirmed = Answer(304, b"", {"Cache-Control": "no-store", "ETag": '"v1"'})
    origin = serve(lb, Answer(200, b"one", {**MINUTE, "ETag": '"v1"'}), confirmed)
    lb.get("http://h/a")
    lb.advance(61)
    found = lb.get("http://h/a")
    assert (found.body, found.header("Cache-Control")) == (b"one", "no-store")
    lb.get("http://h/a", headers={"Cache-Control": "max-stale"})
    assert len(origin.requests) == 3


def test_a_304_about_another_response_is_not_believed(make: Make) -> None:
    lb = make()
    stored = Answer(200, b"one", {**MINUTE, "ETag": '"v1"'})
    other = Answer(304, b"", {"ETag": '"v2"'})
    serve(lb, stored, other, Answer(200, b"two", MINUTE))
    lb.get("http://h/a")
    lb.advance(61)
    assert lb.get("http://h/a").body == b"two"


def test_conditions_and_ranges_of_clients(make: Make) -> None:
    lb = make()
    origin = serve(lb, Answer(200, b"0123456789", {**MINUTE, "ETag": '"v1"', "X": "y"}))
    lb.get("http://h/a")
    same = lb.get("http://h/a", headers={"If-None-Match": 'W/"v1"'})
    assert (same.status, same.body, same.header("ETag")) == (304, b"", '"v1"')
    part = lb.get("http://h/a", headers={"Range": "bytes=2-4"})
    assert (part.status, part.body) == (206, b"234")
    assert part.header("Content-Range") == "bytes 2-4/10"
    parts = lb.get("http://h/a", headers={"Range": "bytes=0-1,-1"})
    assert parts.header("Content-Type").startswith("multipart/byteranges; boundary=")
    assert parts.body.count(b"Content-Range: bytes") == 2
    assert int(parts.header("Content-Length")) == len(parts.body)
    beyond = lb.get("http://h/a", headers={"Range": "bytes=10-"})
    assert (beyond.status, beyond.header("Content-Range")) == (416, "bytes */10")
    old = lb.get("http://h/a", headers={"Range": "bytes=2-4", "If-Range": '"v0"'})
    assert (old.status, old.body) == (200, b"0123456789")
    head = lb.request("HEAD", "http://h/a")
    assert (head.status, head.body, head.header("Content-Length")) == (200, b"", "10")
    assert len(origin.requests) == 1


def test_a_condition_does_not_keep_the_store_empty(make: Make) -> None:
    lb = make()
    origin = serve(lb, Answer(200, b"one", {**MINUTE, "ETag": '"v1"'}))
    first = lb.get("http://h/a", headers={"If-None-Match": '"v1"'})
    assert (first.status, first.body) == (304, b"")
    assert origin.requests[0].header("If-None-Match") == ""
    assert lb.get("http://h/a").body == b"one"
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Cache-Control": "no-store"}, "no-store (RFC 9111 §5.2.2.5)"),
        ({**MINUTE, "Set-Cookie": "a=b"}, "Set-Cookie (set_cookie = refuse)"),
        ({**MINUTE, "Vary": "*"}, "Vary: * (RFC 9111 §4.1)"),
        ({}, "stale at once (no lifetime) and without a validator (RFC 9111 §3)"),
    ],
)
def test_a_response_that_is_not_stored_says_why(
    make: Make, headers: dict[str, str], why: str
) -> None:
    lb = make()
    origin = serve(lb, Answer(200, b"one", headers))
    found = [lb.get("http://h/a") for _ in range(2)]
    assert [one.body for one in found] == [b"one", b"one"]
    assert len(origin.requests) == 2
    detail = f'detail="not stored: {why}"'.replace("§", "section ")
    assert status(found[0]) == f"fwd=uri-miss; fwd-status=200; {detail}"


def test_cookies_and_authorization_do_not_leak(make: Make) -> None:
    lb = make()
    origin = serve(lb, lambda request: Answer(200, request.header("Cookie").encode(), MINUTE))
    assert lb.get("http://h/a", headers={"Cookie": "sid=1"}).body == b"sid=1"
    assert lb.get("http://h/a", headers={"Cookie": "sid=2"}).body == b"sid=2"
    assert lb.get("http://h/a").body == b""
    other = lb.get("http://h/a", headers={"Cookie": "sid=3"})
    assert (other.body, "cookies" in status(other)) == (b"sid=3", True)
    for name in ("Basic YQ==", "Basic Yg=="):
        lb.get("http://h/b", headers={"Authorization": name})
    assert len(origin.requests) == 6


def test_vary_keeps_variants(make: Make) -> None:
    lb = make()
    headers = {**MINUTE, "Vary": "Accept-Language"}
    origin = serve(lb, lambda one: Answer(200, one.header("Accept-Language").encode(), headers))
    for _ in range(2):
        for language in ("en", "de"):
            found = lb.get("http://h/a", headers={"Accept-Language": language})
            assert found.body == language.encode()
    assert len(origin.requests) == 2


def test_many_wait_for_one_fetch(make: Make) -> None:
    lb = make()
    origin = serve(lb, Answer(200, b"x" * 300_000, MINUTE, after=1.0))
    waiting = [lb.begin("GET", "http://h/a") for _ in range(50)]
    assert len(origin.requests) == 1
    found = [one.wait() for one in waiting]
    assert {len(one.body) for one in found} == {300_000}
    assert sum("collapsed" in status(one) for one in found) == 49
    assert len(origin.requests) == 1
    assert stats_of(lb.service.caches["main"])["collapsed"] == 49


def test_a_fetch_survives_its_first_client(make: Make) -> None:
    lb = make()
    origin = serve(lb, Answer(200, b"one", MINUTE, after=1.0))
    first, second = lb.begin("GET", "http://h/a"), lb.begin("GET", "http://h/a")
    first.client.abort()
    assert second.wait().body == b"one"
    lone = lb.begin("GET", "http://h/b")
    lone.client.abort()
    lb.advance(2)
    assert status(lb.get("http://h/b")).startswith("hit")
    assert len(origin.requests) == 2


def test_nobody_queues_behind_what_is_not_stored(make: Make) -> None:
    lb = make()
    origin = serve(lb, lambda one: Answer(200, b"%d" % one.connection, after=1.0))
    waiting = [lb.begin("GET", "http://h/a") for _ in range(5)]
    lb.advance(1.5)
    assert len(origin.requests) == 5, "all others went to the server when the first head came"
    assert {one.wait().status for one in waiting} == {200}
    later = [lb.begin("GET", "http://h/a") for _ in range(5)]
    assert len(origin.requests) == 10, "nobody waits any more"
    assert {one.wait().status for one in later} == {200}


def test_a_failed_fetch_answers_all_at_once(make: Make) -> None:
    lb = make(backend="retries = 0")
    origin = serve(lb, Answer(raw=b"", close=True, after=1.0))
    waiting = [lb.begin("GET", "http://h/a") for _ in range(5)]
    assert {one.wait().status for one in waiting} == {502}
    assert len(origin.requests) == 1


def test_waiting_has_an_end(make: Make) -> None:
    lb = make(cache="wait = 2s\nwaiters = 1")
    origin = serve(lb, Answer(200, b"one", MINUTE, after=5.0))
    first = lb.begin("GET", "http://h/a")
    second = lb.begin("GET", "http://h/a")
    assert len(origin.requests) == 1
    third = lb.begin("GET", "http://h/a")
    assert len(origin.requests) == 2, "one too many"
    lb.advance(2.1)
    assert len(origin.requests) == 3, "waited long enough"
    assert {one.wait().body for one in (first, second, third)} == {b"one"}


def test_stale_while_revalidate(make: Make) -> None:
    lb = make()
    headers = {"Cache-Control": "max-age=60, stale-while-revalidate=30"}
    origin = serve(lb, Answer(200, b"one", headers), Answer(200, b"two", headers))
    lb.get("http://h/a")
    lb.advance(70)
    found = lb.get("http://h/a")
    assert (found.body, len(origin.requests)) == (b"one", 2)
    assert status(found) == 'hit; ttl=-10; detail="stale-while-revalidate"'
    assert lb.get("http://h/a").body == b"two"


def test_stale_answers_while_the_server_fails(make: Make) -> None:
    lb = make(cache="grace = 1h", backend="retries = 0")
    origin = serve(lb, Answer(200, b"one", MINUTE), 503, Answer(raw=b"", close=True))
    lb.get("http://h/a")
    lb.advance(70)
    for why in ("status 503, grace", "server_gone, grace"):
        found = lb.get("http://h/a")
        assert (found.status, found.body) == (200, b"one")
        assert status(found) == f'hit; ttl=-10; detail="{why}"'
    origin.stop()
    assert lb.get("http://h/a").body == b"one"
    assert lb.get("http://h/b").status >= 500


def test_an_error_never_replaces_a_good_response(make: Make) -> None:
    lb = make(cache="grace = 1h")
    bad = Answer(500, b"bad", {"Cache-Control": "max-age=600"})
    serve(lb, Answer(200, b"one", MINUTE), bad)
    lb.get("http://h/a")
    lb.advance(70)
    assert lb.get("http://h/a").body == b"one"
    strict = lb.get("http://h/a", headers={"Cache-Control": "no-cache"})
    assert strict.body == b"one"


def test_unsafe_methods_invalidate(make: Make) -> None:
    lb = make()

    def handle(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(201, b"", {"Location": "/b"})
        return Answer(200, b"%d" % len(origin.requests), MINUTE)

    origin = lb.origin("a", "10.0.0.1:80", handle)
    before = [lb.get(f"http://h/{name}").body for name in "abc"]
    posted = lb.request("POST", "http://h/a", body=b"x")
    assert status(posted) == 'fwd=method; fwd-status=201; detail="method"'
    after = [lb.get(f"http://h/{name}").body for name in "abc"]
    assert [one == two for one, two in zip(before, after, strict=True)] == [False, False, True]


def test_purge_by_method(make: Make) -> None:
    lb = make(cache="purge_from = 10.9.0.0/16")
    origin = serve(lb, Answer(200, b"one", MINUTE))
    lb.get("http://h/a")
    assert lb.request("PURGE", "http://h/a").status == 403
    assert status(lb.get("http://h/a")).startswith("hit")
    done = lb.request("PURGE", "http://h/a", client="10.9.8.7")
    assert (done.status, done.body) == (200, b'{"purged": 1}\n')
    lb.get("http://h/a")
    assert [one.method for one in origin.requests] == ["GET", "GET"]
    counters = lb.service.caches["main"].counters
    assert (counters.purge_requests, counters.purge_refused) == (1, 1)


@pytest.mark.parametrize("host", ["h", "h:80", "h:080", "H", "h."])
@pytest.mark.parametrize("kind", ["url", "prefix", "host"])
def test_a_purge_names_all_spellings_of_a_host(make: Make, host: str, kind: str) -> None:
    lb = make()
    serve(lb, Answer(200, b"one", MINUTE))
    lb.get("http://h/a", headers={"Host": host})
    values = {"url": b"http://H:0080/a", "prefix": b"http://h.:80/", "host": b"h."}
    assert purged(lb.service.caches["main"], Purge(kind, values[kind])) == 1  # type: ignore[arg-type]


def test_nobody_joins_a_fetch_that_began_before_a_purge(make: Make) -> None:
    lb = make(cache="purge_from = 10.9.0.0/16")
    origin = serve(lb, Answer(200, b"old", MINUTE, after=1.0), Answer(200, b"new", MINUTE))
    old = lb.begin("GET", "http://h/a")
    lb.request("PURGE", "http://h/a", client="10.9.8.7")
    assert lb.get("http://h/a").body == b"new"
    assert old.wait().body == b"old"
    assert lb.get("http://h/a").body == b"new"
    assert len(origin.requests) == 2


def test_bypass_refresh_and_none(make: Make) -> None:
    lb = make(
        cache="bypass = path /admin/*\nrefresh = header X-Refresh",
        frontend="routes =\n    path /live/* -> app cache=none\n    path /x -> app",
    )
    origin = serve(lb, lambda one: Answer(200, b"%d" % len(origin.requests), MINUTE))
    for path in ("/admin/a", "/live/a"):
        assert lb.get(f"http://h{path}").body != lb.get(f"http://h{path}").body
    assert lb.get("http://h/live/a").header("Cache-Status") == ""
    assert status(lb.get("http://h/admin/a")) == 'fwd=bypass; fwd-status=200; detail="bypass"'
    first = lb.get("http://h/x").body
    assert lb.get("http://h/x").body == first
    fresh = lb.get("http://h/x", headers={"X-Refresh": "1"}).body
    assert fresh != first
    assert lb.get("http://h/x").body == fresh


def test_what_does_not_matter_cannot_poison_the_store(make: Make) -> None:
    lb = make(cache="query = ignore=utm_*\ncookies = ignore theme")
    origin = serve(
        lb, lambda one: Answer(200, f"{one.target} {one.header('Cookie')}".encode(), MINUTE)
    )
    found = lb.get("http://h/a?utm_x=%3Cscript%3E&p=1", headers={"Cookie": "theme=evil"})
    assert found.body == b"/a?p=1 "
    assert lb.get("http://h/a?p=1").body == b"/a?p=1 "
    assert len(origin.requests) == 1
    assert purged(lb.service.caches["main"], Purge("url", b"http://h/a?utm_y=2&p=1")) == 1


def test_a_rewritten_request_is_purged_by_its_public_url(make: Make) -> None:
    lb = make(frontend="filters = rewrite /api/* /*")
    origin = serve(lb, lambda one: Answer(200, one.target.encode(), MINUTE))
    for _ in range(2):
        assert lb.get("http://h/api/x").body == b"/x"
        assert lb.get("http://h/x").body == b"/x"
    assert len(origin.requests) == 2
    assert purged(lb.service.caches["main"], Purge("prefix", b"http://h/api/")) == 1


def test_only_if_cached(make: Make) -> None:
    lb = make()
    serve(lb, Answer(200, b"one", MINUTE))
    asking = {"Cache-Control": "only-if-cached"}
    assert lb.get("http://h/a", headers=asking).status == 504
    lb.get("http://h/a")
    assert lb.get("http://h/a", headers=asking).body == b"one"


@pytest.mark.parametrize(
    ("method", "headers", "data"),
    [
        ("GET", {}, b""),
        ("HEAD", {}, b""),
        ("GET", {"X-Original-URL": "/b"}, b""),
        ("GET", {"Cookie": "session=1"}, b""),
        ("GET", {"Range": "bytes=0-1", "X-HTTP-Method-Override": "PUT"}, b""),
        ("GET", {}, b"a body"),
        ("POST", {}, b"a body"),
    ],
)
def test_only_if_cached_reaches_no_server(
    make: Make, method: str, headers: dict[str, str], data: bytes
) -> None:
    lb = make(cache="bypass = path /private/*\ncookies = bypass session")
    origin = serve(lb, Answer(200, b"one", MINUTE))
    headers = {**headers, "Cache-Control": "only-if-cached"}
    for path in ("/a", "/private/a"):
        found = lb.request(method, f"http://h{path}", headers=headers, body=data or None)
        assert (found.status, "only-if-cached" in status(found)) == (504, True)
    assert origin.requests == []


def test_a_body_that_is_too_large_is_passed_on(make: Make) -> None:
    lb = make(cache="memory = 1m\nmax_object = 100k")
    chunks = b"".join(b"10000\r\n" + b"x" * 0x10000 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
    origin = serve(lb, Answer(raw=head + chunks))
    for _ in range(2):
        assert len(lb.get("http://h/a").body) == 20 * 0x10000
    cache = lb.service.caches["main"]
    assert (len(origin.requests), len(cache.memory), cache.memory.reserved) == (2, 0, 0)


def test_a_slow_reader_holds_no_other_back_and_loses_nothing(make: Make) -> None:
    lb = make(cache="memory = 16m\nmax_object = 4m")
    body = bytes(range(256)) * 8000
    origin = serve(lb, Answer(200, body, MINUTE, after=1.0))
    slow = lb.begin("GET", "http://h/a")
    slow.client.pause()
    quick = lb.begin("GET", "http://h/a")
    assert quick.wait().body == body
    assert slow.response is None
    slow.client.resume()
    assert slow.wait().body == body
    assert len(origin.requests) == 1


def test_a_cut_body_is_never_stored(make: Make) -> None:
    lb = make()
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n"
    origin = serve(lb, Answer(raw=head + b"short", close=True), Answer(200, b"whole", MINUTE))
    with pytest.raises(AssertionError):
        lb.get("http://h/a")
    assert lb.get("http://h/a").body == b"whole"
    assert len(origin.requests) == 2


def test_response_filters_run_behind_the_store(make: Make) -> None:
    lb = make(frontend='filters = set-header response X-Client "{client_ip}"')
    origin = serve(lb, Answer(200, b"one", MINUTE))
    for client in ("203.0.113.1", "203.0.113.2"):
        found = lb.get("http://h/a", client=client)
        assert found.header_values("X-Client") == [client]
    assert len(origin.requests) == 1


def test_a_head_request_refreshes_or_condemns(make: Make) -> None:
    lb = make(cache="grace_refresh = 1s")
    first = Answer(200, b"one", {**MINUTE, "ETag": '"v1"'})

    def handle(request: Request) -> Answer:
        if request.method == "HEAD":
            return Answer(200, b"", {"ETag": '"v2"', "Content-Length": "3", **MINUTE})
        return first

    origin = lb.origin("a", "10.0.0.1:80", handle)
    lb.get("http://h/a")
    lb.advance(61)
    lb.request("HEAD", "http://h/a")
    lb.get("http://h/a")
    assert [one.method for one in origin.requests] == ["GET", "HEAD", "GET"]


def test_a_reload_keeps_the_contents(make: Make) -> None:
    lb = make()
    origin = serve(lb, Answer(200, b"one", MINUTE))
    lb.get("http://h/a")
    text = config_with("memory = 1m\ngrace = 5s")
    report = lb.service.reload(text)
    assert report.ok
    assert status(lb.get("http://h/a")).startswith("hit")
    assert lb.service.caches["main"].policy.grace == 5.0
    assert lb.service.reload(text.replace("cache = main\n", "")).ok
    assert lb.get("http://h/a").header("Cache-Status") == ""
    assert lb.service.caches == {}
    assert len(origin.requests) == 2


def test_two_backends_do_not_mix(make: Make) -> None:
    lb = make(
        frontend="routes =\n    header X-Beta 1 -> beta",
        backend="[backend beta]\nservers = b 10.0.0.2:80",
    )
    serve(lb, Answer(200, b"app", MINUTE))
    lb.origin("b", "10.0.0.2:80", Answer(200, b"beta", MINUTE))
    for _ in range(2):
        assert lb.get("http://h/a", headers={"X-Beta": "1"}).body == b"beta"
        assert lb.get("http://h/a").body == b"app"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ttl = 206 10s", "206 is not a status that can be stored"),
        ("ttl = soon", "not a duration|soon"),
        ("query = sort ignore=a keep=b", "everything that is not kept is ignored"),
        ("cookies = forget a", "a group begins with ignore, key or bypass"),
        (
            "memory = 1m\nmax_object = 900k",
            "900k is out of bounds; it must be at most half of 'memory' \\(1m\\)",
        ),
        ("bypass = pth /a", "did you mean|unknown condition"),
        ("set_cookie = maybe", "refuse"),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    with pytest.raises(ConfigErrors, match=message):
        LB.from_config(config_with(line))


def test_a_cache_that_does_not_exist() -> None:
    text = config_with().replace("cache = main", "cache = other")
    with pytest.raises(
        ConfigErrors, match=r"\] cache: there is no \[cache other\]; allowed: main$"
    ):
        LB.from_config(text)


def test_a_304_brings_no_field_of_its_connection(make: Make) -> None:
    lb = make()
    stored = Answer(200, b"one", {**MINUTE, "ETag": '"v1"'})
    confirmed = Answer(
        304, b"", {"ETag": '"v1"', "Connection": "X-Hop", "X-Hop": "1", "X-New": "1"}
    )
    serve(lb, stored, confirmed)
    lb.get("http://h/a")
    lb.advance(61)
    for _ in range(2):
        page = lb.get("http://h/a")
        assert (page.body, page.header("X-New"), page.header("X-Hop")) == (b"one", "1", "")


def test_a_clock_that_is_set_back_keeps_nothing_alive(make: Make) -> None:
    lb = make()
    answers = [Answer(200, b"%d" % number, MINUTE) for number in range(5)]
    origin = serve(lb, *answers)
    cache, back = lb.service.caches["main"], 0.0
    wall = cache.wall
    cache.wall = cache.store._now = cache.store._slot._now = lambda: wall() - back
    assert lb.get("http://h/a").body == b"0"
    back = 3600.0
    assert [lb.get("http://h/a").body for _ in range(2)] == [b"1", b"1"], "0 has an unknown age"
    back = 7200.0
    purged(cache, Purge("url", b"http://h/a"), soft=True)
    lb.get("http://h/a")
    assert [lb.get("http://h/a").body for _ in range(2)] == [b"2", b"2"]
    assert len(origin.requests) == 3


def test_a_purge_finds_other_spellings_of_what_key_names(make: Make) -> None:
    lb = make("key = {host} {path} {query:a} {query:b}")
    origin = serve(lb, Answer(200, b"one", MINUTE))
    cache = lb.service.caches["main"]
    one, other = "http://h/p?a=1&x=2&b=3", "http://h/p?b=3&a=1"
    lb.get(one)
    assert status(lb.get(other)) == "hit; ttl=60"
    assert origin.requests[0].target == "/p?a=1&b=3"
    assert purged(cache, Purge("url", other.encode())) == 1
    for kind, value in (("url", b"https://h/p?b=3&a=1"), ("prefix", b"https://h/p")):
        lb.get(one)
        assert purged(cache, Purge(kind, value)) == 1, "the key has no scheme"
        assert purged(cache, Purge(kind, value)) == 0
    lb.get(one)
    lb.request("POST", other)
    assert status(lb.get(one)).startswith("fwd=uri-miss")


def test_a_key_with_the_scheme_is_purged_by_it(make: Make) -> None:
    lb = make("key = {scheme} {host} {path}")
    serve(lb, Answer(200, b"one", MINUTE))
    lb.get("http://h/p")
    cache = lb.service.caches["main"]
    assert purged(cache, Purge("url", b"https://h/p")) == 0
    assert purged(cache, Purge("url", b"http://h/p")) == 1


def test_vary_by_cookie_means_the_cookies_that_are_sent(make: Make) -> None:
    lb = make("cookies = ignore _ga*, key lang")
    origin = serve(lb, Answer(200, b"one", {**MINUTE, "Vary": "Cookie"}))
    for cookie in ("_ga=1; lang=de", "_ga=2; lang=de", "lang=de"):
        lb.get("http://h/a", headers={"Cookie": cookie})
    assert [request.header("Cookie") for request in origin.requests] == ["lang=de"]
    lb.get("http://h/a", headers={"Cookie": "_ga=1"})
    assert status(lb.get("http://h/a")) == "hit; ttl=60"
    assert len(origin.requests) == 2


def test_a_head_request_with_what_the_key_ignores_changes_nothing(make: Make) -> None:
    """Its response may depend on a parameter or a cookie that is not sent with a GET."""
    lb = make("query = ignore=utm_*\ncookies = ignore _ga*")

    def reflect(request: Request) -> Answer:
        seen = {"X-Target": request.target, "X-Cookie": request.header("Cookie")}
        return Answer(200, b"page", {**MINUTE, "ETag": '"v1"', **seen})

    lb.origin("a", "10.0.0.1:80", reflect)
    for url, headers in (("http://h/a?utm_x=1", {}), ("http://h/a", {"Cookie": "_ga=1"})):
        lb.get("http://h/a")
        lb.advance(61)
        lb.request("HEAD", url, headers=headers)
        page = lb.get("http://h/a")
        assert (page.header("X-Target"), page.header("X-Cookie")) == ("/a", "")
        assert status(page).startswith("fwd=stale"), "the HEAD has not refreshed it"
        lb.advance(61)
    lb.request("HEAD", "http://h/a")
    assert status(lb.get("http://h/a")) == "hit; ttl=60"
