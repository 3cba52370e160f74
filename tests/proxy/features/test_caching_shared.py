"""Shared fetches of the cache: who may have the response, and what must not be left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from lbproxy.cache.purge import Purge
from lbproxy.http.filter import compile_phases
from lbproxy.http.message import Headers, Reply
from lbproxy.proxy.features.caching.source import CacheSource
from lbproxy.proxy.http.source import Source
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from tests.support.caching import config_with
from tests.support.purging import purged

MINUTE = {"Cache-Control": "max-age=60"}
URL = "http://h/a"

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


def idle(lb: LoadBalancerFixture) -> bool:
    """Whether the cache has no fetch and has set no bytes aside."""
    cache = lb.service.caches["main"]
    return not cache._running and not cache.fetches and not cache.memory.reserved


def status(response: Response) -> str:
    """What the cache says."""
    return response.header("Cache-Status").removeprefix("main; ")


def by_language(after: float = 0.0, control: str = "max-age=60") -> Callable[[Request], Any]:
    """A handler whose answer depends on Accept-Language, and which confirms its ETag."""

    def handle(request: Request) -> Answer:
        name = request.header("Accept-Language")
        tag = f'"{name}"'
        head = {"Cache-Control": control, "Vary": "Accept-Language", "ETag": tag}
        if request.header("If-None-Match") == tag:
            return Answer(304, b"", head, after=after)
        return Answer(200, name.encode(), head, after=after)

    return handle


def test_the_validation_of_one_variant_answers_no_other(make: Make) -> None:
    lb = make()
    lb.origin("a", "10.0.0.1:80", by_language(after=1.0))
    assert lb.get(URL, headers={"Accept-Language": "en"}).body == b"en"
    lb.advance(61)
    english = lb.begin("GET", URL, headers={"Accept-Language": "en"})
    german = lb.begin("GET", URL, headers={"Accept-Language": "de"})
    assert (english.wait().body, german.wait().body) == (b"en", b"de")
    assert idle(lb)


def test_a_stale_variant_answers_no_other(make: Make) -> None:
    lb = make(cache="grace = 1h", backend="retries = 0")
    origin = lb.origin("a", "10.0.0.1:80", by_language())
    assert lb.get(URL, headers={"Accept-Language": "en"}).body == b"en"
    lb.advance(61)
    origin.handler = Answer(503, b"", after=1.0)
    english = lb.begin("GET", URL, headers={"Accept-Language": "en"})
    german = lb.begin("GET", URL, headers={"Accept-Language": "de"})
    assert english.wait().body == b"en"
    assert german.wait().status == 503
    assert idle(lb)


def test_a_response_that_nobody_reads_is_not_kept(make: Make) -> None:
    lb = make()
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    lb.origin("a", "10.0.0.1:80", Answer(raw=head + chunk * 100, after=1.0))
    lb.begin("GET", URL).client.abort()
    lb.advance(2)
    assert idle(lb)


@pytest.mark.parametrize("control", ["no-cache", "max-age=0, must-revalidate"])
def test_what_must_be_validated_is_for_one_request(make: Make, control: str) -> None:
    lb = make()
    origin = lb.origin("a", "10.0.0.1:80", b"")
    head = {"Cache-Control": control, "ETag": '"x"'}
    origin.handler = lambda _: Answer(200, b"%d" % len(origin.requests), head, after=1.0)
    found = [lb.begin("GET", URL) for _ in range(3)]
    assert sorted(one.wait().body for one in found) == [b"1", b"2", b"3"]
    lb.advance(10)
    origin.handler = lambda _: Answer(304, b"", head, after=1.0)
    found = [lb.begin("GET", URL) for _ in range(3)]
    assert [one.wait().status for one in found] == [200] * 3
    assert len(origin.requests) == 6, "a validation for each"
    assert idle(lb)


def test_a_request_that_wants_the_server_waits_for_no_other(make: Make) -> None:
    lb = make()
    origin = lb.origin("a", "10.0.0.1:80", Answer(200, b"one", MINUTE, after=1.0))
    headers = [{}, {"Cache-Control": "no-cache"}, {}]
    found = [lb.begin("GET", URL, headers=one) for one in headers]
    assert len(origin.requests) == 2
    assert {one.wait().body for one in found} == {b"one"}
    assert idle(lb)


def test_a_source_that_raises_leaves_no_fetch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lb = make()
    lb.origin("a", "10.0.0.1:80", Answer(200, b"one", MINUTE))

    class Broken(Source):
        def begin(self, *_: Any) -> Any:
            raise RuntimeError("broken")

    begin = CacheSource.begin_plain

    def broken(self: CacheSource, *args: Any) -> Any:
        self.inner = Broken()
        return begin(self, *args)

    monkeypatch.setattr(CacheSource, "begin_plain", broken)
    assert lb.get(URL).status == 500
    assert idle(lb)


def test_interim_heads_are_for_the_first(make: Make) -> None:
    lb = make()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </mine>; rel=preload\r\n\r\n"
    last = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nCache-Control: max-age=60\r\n\r\nx"
    lb.origin("a", "10.0.0.1:80", Answer(raw=hints + last, after=1.0))
    found = [lb.begin("GET", URL).wait for _ in range(2)]
    assert [len(wait().interim) for wait in found] == [1, 0]


def test_an_error_does_not_replace_a_good_response(make: Make) -> None:
    lb = make(cache="client_no_cache = obey\ngrace = 1h")
    answers = [Answer(200, b"one", MINUTE), Answer(500, b"bad", {"Cache-Control": "max-age=600"})]
    lb.origin("a", "10.0.0.1:80", lambda _: answers.pop(0))
    lb.get(URL)
    lb.get(URL, headers={"Cache-Control": "no-cache"})
    assert lb.get(URL).body == b"one"


HEAD = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n%s\r\n"


def test_a_head_request_without_validators_does_not_refresh(make: Make) -> None:
    lb = make()
    raw = Answer(raw=HEAD % b"")
    pages = [Answer(200, b"old", MINUTE), Answer(200, b"new", MINUTE)]
    lb.origin("a", "10.0.0.1:80", lambda one: raw if one.method == "HEAD" else pages.pop(0))
    lb.get(URL)
    lb.advance(61)
    lb.request("HEAD", URL)
    assert lb.get(URL).body == b"new"


def test_a_soft_purge_outlives_a_head_request(make: Make) -> None:
    lb = make()
    page = Answer(200, b"one", {**MINUTE, "ETag": '"x"'})
    raw = Answer(raw=HEAD % b'ETag: "x"\r\n', after=1.0)
    lb.origin("a", "10.0.0.1:80", lambda one: raw if one.method == "HEAD" else page)
    lb.get(URL)
    lb.advance(61)
    asking = lb.begin("HEAD", URL)
    purged(lb.service.caches["main"], Purge("all"), soft=True)
    asking.wait()
    (entry,) = lb.service.caches["main"].memory
    assert entry.stored.purged


def test_fields_of_no_cache_are_not_served(make: Make) -> None:
    lb = make(cache="set_cookie = store")
    control = 'max-age=60, no-cache="Set-Cookie, X-User"'
    head = {"Cache-Control": control, "Set-Cookie": "a=b", "X-User": "u"}
    lb.origin("a", "10.0.0.1:80", Answer(200, b"one", head))
    assert lb.get(URL).header("X-User") == "u"
    again = lb.get(URL)
    assert (again.body, again.header("X-User"), again.header("Set-Cookie")) == (b"one", "", "")


def test_force_does_not_share_cookies(make: Make) -> None:
    lb = make(cache="ttl = default 1m force")
    lb.origin("a", "10.0.0.1:80", Answer(200, b"one", {"Set-Cookie": "a=b"}))
    assert lb.get(URL).header("Set-Cookie") == "a=b"
    again = lb.get(URL)
    assert (status(again), again.header("Set-Cookie")) == ("hit; ttl=60", "")


def test_cookies_of_one_client_do_not_stop_others_from_waiting(make: Make) -> None:
    lb = make()
    origin = lb.origin("a", "10.0.0.1:80", Answer(200, b"one", MINUTE, after=1.0))
    lb.get(URL, headers={"Cookie": "sid=1"})
    waiting = [lb.begin("GET", URL) for _ in range(5)]
    assert len(origin.requests) == 2
    assert {one.wait().body for one in waiting} == {b"one"}


def test_purges_know_every_spelling_of_a_url(make: Make) -> None:
    lb = make()
    origin = lb.origin("a", "10.0.0.1:80", Answer(200, b"one", MINUTE))
    cache = lb.service.caches["main"]
    for spelling in (b"HTTP://H/", b"http://h:80/", b"http://h", b"http://h/#x"):
        lb.get("http://h/")
        assert purged(cache, Purge("url", spelling)) == 1, spelling
    for request in (b"GET http://H/ HTTP/1.1\r\nHost: h", b"GET / HTTP/1.1\r\nHost: h:80"):
        for purge in (
            Purge("url", b"http://h/"),
            Purge("host", b"h"),
            Purge("prefix", b"http://H/"),
        ):
            client = lb.connect("web")
            client.request("GET", request + b"\r\n\r\n").wait()
            assert purged(cache, purge) == 1, (request, purge)
    assert len(origin.requests) == 10


def test_a_connection_that_authenticates_is_not_cached(make: Make) -> None:
    lb = make()
    users: dict[int, str] = {}

    def handle(request: Request) -> Answer:
        name = users.get(request.connection, "")
        if request.header("Authorization"):
            name = users[request.connection] = request.header("Authorization")
        return Answer(200, name.encode(), MINUTE)

    lb.origin("a", "10.0.0.1:80", handle)
    client = lb.connect("web")
    lb.get(URL, via=client, headers={"Authorization": "NTLM ann"})
    assert lb.get(URL, via=client).body == b"NTLM ann"
    assert lb.get(URL).body == b""
    assert lb.get(URL, via=client).body == b"NTLM ann"


def test_a_slow_reader_of_a_large_body_is_cut(make: Make) -> None:
    lb = make(cache="memory = 1m\nmax_object = 100k", backend="timeout_server = 10s")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
    lb.origin("a", "10.0.0.1:80", Answer(raw=head + chunk * 60 + b"0\r\n\r\n", after=1.0))
    slow, quick = lb.begin("GET", URL), lb.begin("GET", URL)
    slow.client.pause()
    lb.advance(5)
    assert quick.response is None
    lb.advance(7)
    assert quick.response is not None
    assert len(quick.response.body) == 60 * 0x10000
    slow.client.resume()
    lb.advance(1)
    assert slow.failed
    assert idle(lb)


class Answering:
    """Answers in phase ``server_request``: once :meth:`go` is called, then at once."""

    def __init__(self, body: Callable[[], Any], headers: Headers | None = None) -> None:
        self._body = body
        self._headers = headers or []
        self._first: Deferred[Reply] | None = None

    def server_request(self, traffic: Any) -> Any:
        if self._first is not None:
            return Reply(200, self._body(), list(self._headers))
        self._first = Deferred()
        return self._first

    def go(self) -> None:
        assert self._first is not None
        self._first.callback(Reply(200, self._body(), list(self._headers)))


def pieces() -> Iterator[bytes]:
    for number in range(6):
        yield b"%d" % number * 100_000


@pytest.mark.parametrize("body", [pieces, lambda: b"".join(pieces())])
def test_a_filter_that_answers_gives_each_client_the_whole_body(make: Make, body: Any) -> None:
    lb = make()
    lb.origin("a", "10.0.0.1:80")
    one = Answering(body)
    lb.service.frontends["web"].compile(compile_phases([one]))
    waiting = [lb.begin("GET", URL) for _ in range(3)]
    one.go()
    assert [response.wait().body for response in waiting] == [b"".join(pieces())] * 3
    assert idle(lb)


def test_a_reply_of_a_filter_with_a_cookie_is_for_one_client(make: Make) -> None:
    lb = make()
    lb.origin("a", "10.0.0.1:80")
    names = iter(range(9))
    one = Answering(lambda: b"%d" % next(names), [(b"Set-Cookie", b"id=1")])
    lb.service.frontends["web"].compile(compile_phases([one]))
    waiting = [lb.begin("GET", URL) for _ in range(3)]
    one.go()
    assert {response.wait().body for response in waiting} == {b"0", b"1", b"2"}
    assert idle(lb)


@pytest.mark.parametrize("headers", [{"Authorization": "Basic eDp4"}, {"Cookie": "id=1"}])
def test_a_client_with_credentials_gets_no_reply_for_another(
    make: Make, headers: dict[str, str]
) -> None:
    lb = make()
    public = Answer(200, b"page", {"Cache-Control": "public, max-age=60"})
    lb.origin("a", "10.0.0.1:80", public)
    lb.get(URL)
    lb.advance(61)
    names = iter(range(9))
    one = Answering(lambda: b"%d" % next(names))
    lb.service.frontends["web"].compile(compile_phases([one]))
    waiting = [lb.begin("GET", URL, headers=own) for own in ({}, headers, {})]
    one.go()
    assert [response.wait().body for response in waiting] == [b"0", b"1", b"0"]
    assert idle(lb)


@pytest.mark.parametrize(
    "headers", [{"Cache-Control": "no-store"}, {"Authorization": "Basic eDp4"}, {"Cookie": "id=1"}]
)
@pytest.mark.parametrize("control", ["max-age=10", "public, max-age=10"])
def test_the_request_of_one_client_does_not_end_sharing(
    make: Make, headers: dict[str, str], control: str
) -> None:
    """Neither while a stale response is refreshed, nor when it is fetched anew."""

    def handle(request: Request) -> Answer:
        own = request.header("Authorization") or request.header("Cookie")
        said = "private" if own else f"{control}, stale-while-revalidate=10"
        return Answer(200, b"page", {"Cache-Control": said}, after=1.0)

    lb = make()
    origin = lb.origin("a", "10.0.0.1:80", handle)
    for age in (15, 25):
        lb.get(URL)
        lb.advance(age)
        lb.get(URL, headers=headers)
        lb.advance(30)
        before = len(origin.requests)
        all_of_them = [lb.begin("GET", URL) for _ in range(10)]
        lb.advance(3)
        assert {one.wait().body for one in all_of_them} == {b"page"}
        assert len(origin.requests) - before == 1
        lb.advance(60)


@pytest.mark.parametrize(
    "mine", [{"Set-Cookie": "a=b"}, {"Cache-Control": "private, max-age=60"}, {"Vary": "*"}]
)
def test_a_304_that_must_not_be_stored_is_for_its_client_alone(
    make: Make, mine: dict[str, str]
) -> None:
    lb = make()
    control = {"Cache-Control": "max-age=60", "ETag": '"1"'}
    origin = lb.origin("a", "10.0.0.1:80", Answer(200, b"one", control))
    lb.get(URL)
    lb.advance(61)

    def answer(asked: Request) -> Answer:
        name = str(len(origin.requests))
        if asked.header("If-None-Match"):
            return Answer(304, b"", {**control, **mine, "X-User": name}, after=1)
        return Answer(200, b"two", {**control, **mine, "X-User": name})

    origin.handler = answer
    found = [one.wait() for one in [lb.begin("GET", URL) for _ in range(3)]]
    assert len({one.header("X-User") for one in found}) == 3, "each its own"
    assert status(found[0]) == 'fwd=stale; fwd-status=304; detail="not stored"'
