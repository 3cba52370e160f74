"""The cache and No-Vary-Search: one response for many queries, and never for one too many."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.cache.search import same_search, search_rule
from lbproxy.http.message import RequestHead, ResponseHead
from lbproxy.proxy.features.caching.shown import why
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer, Request
from tests.support.caching import cache_of, config_with
from tests.support.purging import purged

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a load balancer with more lines in the section cache."""
    made = []

    def start(cache: str = "") -> LoadBalancerFixture:
        lb = LB.from_config(config_with(cache))
        made.append(lb)
        return lb

    yield start
    for lb in made:
        lb.close()


def echo(lb: LoadBalancerFixture, field: str = 'params=("utm")', **more: str) -> Any:
    """An origin whose bodies are the targets of their requests."""
    headers = {"Cache-Control": "max-age=60", "No-Vary-Search": field, **more}
    headers = {name: value for name, value in headers.items() if value}
    return lb.origin(
        "a", "10.0.0.1:80", lambda request: Answer(200, request.target.encode(), headers)
    )


def body(lb: LoadBalancerFixture, target: str, **headers: str) -> str:
    return lb.get(f"http://h{target}", headers=headers).body.decode()


def test_a_response_answers_for_what_it_does_not_depend_on(make: Make) -> None:
    lb = make()
    origin = echo(lb)
    assert body(lb, "/p?id=1&utm=a") == "/p?id=1&utm=a"
    for target in ("/p?id=1", "/p?utm=b&id=1", "/p?utm=&id=%31&utm=c"):
        assert body(lb, target) == "/p?id=1&utm=a"
    assert body(lb, "/p?id=2&utm=a") == "/p?id=2&utm=a"
    assert body(lb, "/q?id=1&utm=a") == "/q?id=1&utm=a"
    assert lb.get("http://i/p?id=1").body == b"/p?id=1"
    assert len(origin.requests) == 4


def test_the_order_of_parameters(make: Make) -> None:
    lb = make()
    echo(lb, "key-order")
    assert body(lb, "/p?b=1&a=2") == "/p?b=1&a=2"
    assert body(lb, "/p?a=2&b=1") == "/p?b=1&a=2"
    assert body(lb, "/p?a=2") == "/p?a=2"


def test_without_the_field_and_with_the_option_off_queries_differ(make: Make) -> None:
    for lb in (make("no_vary_search = no"), make()):
        echo(lb, "" if cache_of(lb).policy.search else 'params=("utm")')
        assert body(lb, "/p?utm=a") == "/p?utm=a"
        assert body(lb, "/p?utm=b") == "/p?utm=b"
        assert not cache_of(lb).searches


def test_a_path_that_states_it_no_more_goes_back_to_whole_queries(make: Make) -> None:
    lb = make()
    fields = [{"No-Vary-Search": 'params=("utm")'}, {}, {}]

    def handle(request: Request) -> Answer:
        headers = {"Cache-Control": "max-age=60", **fields.pop(0)}
        return Answer(200, request.target.encode(), headers)

    lb.origin("a", "10.0.0.1:80", handle)
    assert body(lb, "/p?utm=a") == "/p?utm=a"
    lb.advance(61)
    assert body(lb, "/p?utm=b") == "/p?utm=b", "stale: fetched, and the response is of this URL"
    assert body(lb, "/p?utm=c") == "/p?utm=c"
    assert body(lb, "/p?utm=b") == "/p?utm=b"
    assert not fields


def test_a_304_that_changes_the_rule(make: Make) -> None:
    lb = make()
    seen: list[Request] = []

    def handle(request: Request) -> Answer:
        seen.append(request)
        field = 'params=("utm")' if len(seen) == 1 else 'params=("other")'
        headers = {"Cache-Control": "max-age=60", "No-Vary-Search": field, "ETag": '"1"'}
        status = 304 if request.header("If-None-Match") else 200
        return Answer(status, b"" if status == 304 else request.target.encode(), headers)

    lb.origin("a", "10.0.0.1:80", handle)
    assert body(lb, "/p?utm=a") == "/p?utm=a"
    lb.advance(61)
    assert body(lb, "/p?utm=b") == "/p?utm=a", "the server calls it good for this request"
    assert body(lb, "/p?utm=c") == "/p?utm=c", "the response does not answer it any more"


def test_a_rule_that_a_304_states_holds_for_the_url_of_the_response(make: Make) -> None:
    lb = make()
    fields = ['params=("a")']

    def handle(request: Request) -> Answer:
        head = {"ETag": '"1"', "Cache-Control": "max-age=60", "No-Vary-Search": fields[0]}
        if request.header("If-None-Match"):
            return Answer(304, b"", head)
        return Answer(200, request.target.encode(), head)

    lb.origin("a", "10.0.0.1:80", handle)
    assert body(lb, "/p?a=1") == "/p?a=1"
    lb.advance(61)
    fields[0] = 'params=("b")'
    assert body(lb, "/p?c=5&b=3") == "/p?c=5&b=3"
    assert body(lb, "/p?a=1") == "/p?a=1", "whose key has no query by both rules"
    assert body(lb, "/p?b=5") == "/p?b=5", "now a matters"
    assert body(lb, "/p?b=6") == "/p?b=5"


def test_random_queries_and_rules(make: Make) -> None:
    """A response never answers a URL that it tells apart from its own by its own field."""
    lb = make(cache="grace_refresh = 5s")
    chance = random.Random(7)
    rules = ['params=("a")', 'params=("b")', "params", 'params, except=("a")', "key-order", ""]
    fields = ["params"]

    def handle(request: Request) -> Answer:
        tag = f'"{request.target}"'
        said = {"Cache-Control": "max-age=10", "ETag": tag, "No-Vary-Search": fields[0]}
        said = {name: value for name, value in said.items() if value}
        if request.header("If-None-Match") == tag:
            return Answer(304, b"", said)
        return Answer(200, request.target.encode(), said)

    lb.origin("a", "10.0.0.1:80", handle)
    for _ in range(800):
        if chance.random() < 0.2:
            fields[0] = chance.choice(rules)
        if chance.random() < 0.3:
            lb.advance(chance.choice((0.1, 4.0, 11.0)))
        names = chance.choices("abc", k=chance.randrange(4))
        parts = [f"{name}={chance.choice('12')}" for name in names]
        target = "/p?" + "&".join(parts) if parts else "/p"
        found = lb.get(f"http://h{target}")
        stated = ResponseHead(200, [(b"No-Vary-Search", one.encode()) for one in
                                    found.header_values("No-Vary-Search")])  # fmt: skip
        own = found.body
        assert own == target.encode() or same_search(search_rule(stated), own, target.encode())


def test_requests_that_the_response_tells_apart_do_not_share_a_fetch(make: Make) -> None:
    lb = make()
    fields = iter(['params=("utm")', 'params=("other")', "", "", ""])

    def handle(request: Request) -> Answer:
        field = next(fields)
        headers = {"Cache-Control": "max-age=60", **({"No-Vary-Search": field} if field else {})}
        return Answer(200, request.target.encode(), headers, after=1.0)

    lb.origin("a", "10.0.0.1:80", handle)
    assert body(lb, "/p?utm=a") == "/p?utm=a"
    lb.advance(61)
    pending = [lb.begin("GET", f"http://h/p?utm={name}") for name in "bcb"]
    lb.advance(5)
    assert [one.wait().body for one in pending] == [b"/p?utm=b", b"/p?utm=c", b"/p?utm=b"]


def test_requests_that_it_calls_the_same_share_one(make: Make) -> None:
    lb = make()
    origin = lb.origin(
        "a", "10.0.0.1:80",
        lambda request: Answer(
            200, request.target.encode(),
            {"Cache-Control": "max-age=60", "No-Vary-Search": "params"}, after=1.0,
        ),
    )  # fmt: skip
    assert body(lb, "/p?utm=a") == "/p?utm=a"
    lb.advance(61)
    pending = [lb.begin("GET", f"http://h/p?utm={name}") for name in range(20)]
    lb.advance(5)
    assert {one.wait().body for one in pending} == {b"/p?utm=0"}
    assert len(origin.requests) == 2


@pytest.mark.parametrize("target", ["/p?utm=a", "/p?utm=never+asked", "/p"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_purge_of_any_of_its_urls_purges_it(make: Make, target: str, soft: bool) -> None:
    lb = make()
    origin = echo(lb)
    body(lb, "/p?utm=a")
    body(lb, "/q?utm=a")
    assert purged(cache_of(lb), Purge("url", b"http://h" + target.encode()), soft) == 1
    assert body(lb, "/p?utm=z") == ("/p?utm=a" if soft else "/p?utm=z"), "stale while refreshed"
    assert body(lb, "/p?utm=y") == "/p?utm=z"
    assert body(lb, "/q?utm=z") == "/q?utm=a"
    assert len(origin.requests) == 3


def test_a_post_to_any_of_its_urls_invalidates_it(make: Make) -> None:
    lb = make()
    echo(lb)
    body(lb, "/p?utm=a")
    lb.request("POST", "http://h/p?utm=b", body=b"x")
    assert body(lb, "/p?utm=c") == "/p?utm=c"


def test_a_purge_outdates_a_fetch_that_may_be_meant(make: Make) -> None:
    lb = make()
    origin = lb.origin(
        "a", "10.0.0.1:80",
        lambda request: Answer(
            200, request.target.encode(),
            {"Cache-Control": "max-age=60", "No-Vary-Search": "params"}, after=1.0,
        ),
    )  # fmt: skip
    pending = lb.begin("GET", "http://h/p?utm=a")
    purged(cache_of(lb), Purge("url", b"http://h/p?utm=b"))
    lb.advance(5)
    assert pending.wait().body == b"/p?utm=a"
    assert lb.begin("GET", "http://h/p?utm=b")
    lb.advance(5)
    assert len(origin.requests) == 2


def test_vary_and_cookies_still_count(make: Make) -> None:
    lb = make("cookies = key lang")
    echo(lb, Vary="X-Kind")
    assert body(lb, "/p?utm=a", **{"X-Kind": "1"}) == "/p?utm=a"
    assert body(lb, "/p?utm=b", **{"X-Kind": "1"}) == "/p?utm=a"
    assert body(lb, "/p?utm=c", **{"X-Kind": "2"}) == "/p?utm=c"
    assert body(lb, "/p?utm=d", **{"X-Kind": "1", "Cookie": "lang=de"}) == "/p?utm=d"


def test_a_key_of_the_policy_is_left_alone(make: Make) -> None:
    lb = make("key = {host} {path} {query:utm}")
    echo(lb)
    assert body(lb, "/p?utm=a") == "/p?utm=a"
    assert body(lb, "/p?utm=b") == "/p?utm=b"


def test_the_responses_of_the_path_are_shown(make: Make) -> None:
    lb = make()
    echo(lb)
    body(lb, "/p?utm=a")
    head = RequestHead(b"GET", b"/p?utm=b", [(b"Host", b"h")], host=b"h", scheme=b"http")
    (found,) = why(cache_of(lb), head)["stored"]
    assert (found["url"], found["use"]) == ("http://h/p?utm=a", "serve")


def test_a_folder_keeps_them_over_a_restart(make: Make, tmp_path: Any) -> None:
    lb = make(f"disk = {tmp_path}/cache 10m")
    echo(lb)
    body(lb, "/p?utm=a")
    lb.close()
    lb = make(f"disk = {tmp_path}/cache 10m")
    origin = echo(lb)
    assert body(lb, "/p?utm=b") == "/p?utm=b", "the rule is learned anew"
    assert body(lb, "/p?utm=c") == "/p?utm=b"
    assert len(origin.requests) == 1
