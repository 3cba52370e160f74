"""Failures of a server while several requests wait for one response."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer
from tests.support.caching import in_turn

TEXT = """
[cache main]
set_cookie = strip
[frontend web]
listen = tcp:80
cache = main
backend = app
[backend app]
servers = a 10.0.0.1:80
retries = 0
"""


def serve(lb: LoadBalancerFixture, *answers: Answer) -> Any:
    """An origin that gives ``answers`` in turn, the last one again and again."""
    return lb.origin("a", "10.0.0.1:80", in_turn(*answers))


def together(
    answer: Any, turns: int = 1, more: str = "", clients: int = 5
) -> tuple[list[Response], int]:
    """The responses to requests at a time, and how many the server got."""
    with LB.from_config(TEXT.replace("set_cookie", f"{more}\nset_cookie")) as lb:
        origin = lb.origin("a", "10.0.0.1:80", answer)
        found: list[Response] = []
        for _ in range(turns):
            waiting = [lb.begin("GET", "http://h/a") for _ in range(clients)]
            found += [one.wait(30) for one in waiting]
        return found, len(origin.requests)


STATUSES = [
    400,
    401,
    402,
    403,
    406,
    407,
    409,
    418,
    429,
    431,
    451,
    500,
    502,
    503,
    504,
    505,
    511,
    599,
]


@pytest.mark.parametrize("status", STATUSES)
def test_an_error_is_for_all_who_wait_for_it(status: int) -> None:
    headers = {"Retry-After": "5", "WWW-Authenticate": "Basic realm=x"}
    found, count = together(Answer(status, b"failed", headers, after=1.0), turns=2)
    shown = [
        (one.status, one.body, one.header("Retry-After"), one.header("WWW-Authenticate"))
        for one in found
    ]
    assert shown == [(status, b"failed", "5", "Basic realm=x")] * 10
    assert count == 2, "one in each turn: nothing is stored"
    assert [one.header("Cache-Status").endswith("collapsed") for one in found[:5]] == (
        [False, True, True, True, True]
    )


@pytest.mark.parametrize("status", [403, 503])
@pytest.mark.parametrize("body", [b"", b"x" * 300_000])
def test_the_body_of_an_error_has_any_size(status: int, body: bytes) -> None:
    found, count = together(Answer(status, body, after=1.0))
    assert [(one.status, one.body) for one in found] == [(status, body)] * 5
    assert count == 1


PERSONAL: list[dict[str, str]] = [
    {"Cache-Control": "private"},
    {"Cache-Control": "private=x-name"},
    {"Cache-Control": "no-store"},
    {"Cache-Control": "no-cache"},
    {"Cache-Control": "max-age=0"},
    {"Expires": "0"},
    {"CDN-Cache-Control": "no-store"},
    {"Vary": "X"},
    {"Vary": "*"},
    {"Set-Cookie": "a=b"},
]


@pytest.mark.parametrize("status", [403, 418, 503])
@pytest.mark.parametrize("headers", PERSONAL)
def test_an_error_that_may_be_for_one_client_is_not(status: int, headers: dict[str, str]) -> None:
    found, count = together(Answer(status, b"failed", headers, after=1.0))
    assert [one.status for one in found] == [status] * 5
    assert count == 5


def test_a_line_of_ttl_keeps_an_error_from_others() -> None:
    answer = Answer(403, b"no", after=1.0)
    assert together(answer, more="ttl = 403 0s")[1] == 5
    assert together(answer, more="ttl = 404 0s")[1] == 1


@pytest.mark.parametrize("more", ["negative = 0s", "min_uses = 3"])
def test_a_404_that_is_not_stored_is_for_all_who_wait_for_it(more: str) -> None:
    found, count = together(Answer(404, b"none", after=1.0), turns=2, more=more)
    assert [one.status for one in found] == [404] * 10
    assert count == 2


def test_equal_post_requests_share_an_error() -> None:
    with LB.from_config(TEXT.replace("set_cookie", "post = 1k\nset_cookie")) as lb:
        origin = lb.origin("a", "10.0.0.1:80", Answer(422, b"no", after=1.0))
        waiting = [lb.begin("POST", "http://h/a", body=b"q") for _ in range(5)]
        assert [one.wait(30).status for one in waiting] == [422] * 5
        assert len(origin.requests) == 1


@pytest.mark.parametrize(("status", "count"), [(401, 5), (403, 5), (503, 1)])
def test_a_client_with_cookies_gets_no_refusal_of_another(status: int, count: int) -> None:
    public = Answer(200, b"one", {"Cache-Control": "public, max-age=60"})
    with LB.from_config(TEXT) as lb:
        origin = serve(lb, public, Answer(status, b"no", after=1.0))
        lb.get("http://h/a")
        lb.advance(61)
        headers: list[dict[str, str]] = [{}, *[{"Cookie": "me=1"}] * 4]
        waiting = [lb.begin("GET", "http://h/a", headers=one) for one in headers]
        assert [one.wait(30).status for one in waiting] == [status] * 5
        assert len(origin.requests) == 1 + count


@pytest.mark.parametrize("status", [401, 403, 418, 503])
def test_an_error_for_cookies_or_credentials_is_not_for_others(status: int) -> None:
    public = Answer(200, b"one", {"Cache-Control": "public, max-age=60"})
    for personal in ({"Cookie": "me=1"}, {"Authorization": "Basic bWU6"}):
        with LB.from_config(TEXT) as lb:
            origin = serve(lb, public, Answer(status, b"no", after=1.0))
            lb.get("http://h/a")
            lb.advance(61)
            headers: list[dict[str, str]] = [personal, *[{}] * 4]
            waiting = [lb.begin("GET", "http://h/a", headers=one) for one in headers]
            assert [one.wait(30).status for one in waiting] == [status] * 5
            assert len(origin.requests) == 1 + 5


def test_a_403_neither_removes_nor_replaces_a_stored_response() -> None:
    good = Answer(200, b"one", {"Cache-Control": "max-age=60", "ETag": '"1"'})
    with LB.from_config(TEXT) as lb:
        origin = serve(lb, good, Answer(403, b"no", after=1.0), Answer(304))
        lb.get("http://h/a")
        lb.advance(61)
        waiting = [lb.begin("GET", "http://h/a") for _ in range(5)]
        assert [one.wait(30).status for one in waiting] == [403] * 5
        assert lb.get("http://h/a").body == b"one"
        assert len(origin.requests) == 3


@pytest.mark.parametrize("status", [400, 403, 429])
def test_fifty_clients_cost_one_request(status: int) -> None:
    found, count = together(Answer(status, b"no", after=1.0), clients=50)
    assert [one.status for one in found] == [status] * 50
    assert count == 1


GOOD = {"Cache-Control": "max-age=60, stale-if-error=600", "ETag": '"1"'}
ANSWERS: list[Any] = [Answer(503, b"no"), Answer(500), Answer(504, b"no", GOOD)]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_head_gets_a_stale_response_after_a_failure(answer: Answer) -> None:
    with LB.from_config(TEXT) as lb:
        serve(lb, Answer(200, b"one", GOOD), answer)
        lb.get("http://h/a")
        lb.advance(61)
        found = lb.request("HEAD", "http://h/a")
        assert (found.status, found.body) == (200, b"")
        assert (found.header("Content-Length"), found.header("ETag")) == ("3", '"1"')
        assert "hit" in found.header("Cache-Status").split("; ")
        same = lb.request("HEAD", "http://h/a", headers={"If-None-Match": '"1"'})
        assert same.status == 304
        assert lb.get("http://h/a").body == b"one"
        lb.advance(600)
        assert lb.request("HEAD", "http://h/a").status == answer.status


def test_a_head_gets_a_stale_response_without_a_server() -> None:
    with LB.from_config(TEXT) as lb:
        origin = serve(lb, Answer(200, b"one", GOOD))
        lb.get("http://h/a")
        lb.advance(61)
        origin.stop()
        assert lb.request("HEAD", "http://h/a").status == 200
        assert lb.request("HEAD", "http://h/b").status == 502
        cookie = {"Cookie": "me=1"}
        assert lb.request("HEAD", "http://h/a", headers=cookie).status == 502


@pytest.mark.parametrize("control", ["must-revalidate", "no-cache"])
def test_a_head_gets_no_stale_response_that_must_be_validated(control: str) -> None:
    good = {"Cache-Control": f"max-age=60, {control}, stale-if-error=600", "ETag": '"1"'}
    with LB.from_config(TEXT) as lb:
        serve(lb, Answer(200, b"one", good), Answer(503))
        lb.get("http://h/a")
        lb.advance(61)
        assert lb.request("HEAD", "http://h/a").status == 503


def test_another_validator_costs_one_more_request_for_all_who_wait() -> None:
    with LB.from_config(TEXT) as lb:
        good = {"Cache-Control": "max-age=60", "ETag": '"1"'}
        other = Answer(304, headers={"ETag": '"2"'}, after=1.0)
        fresh = Answer(200, b"two", {"Cache-Control": "max-age=60", "ETag": '"2"'}, after=1.0)
        origin = serve(lb, Answer(200, b"one", good), other, fresh)
        lb.get("http://h/a")
        lb.advance(61)
        waiting = [lb.begin("GET", "http://h/a") for _ in range(20)]
        assert [one.wait(30).body for one in waiting] == [b"two"] * 20
        assert len(origin.requests) == 3
        assert not origin.requests[-1].header("If-None-Match")


@pytest.mark.parametrize("how", ["client_no_cache = obey", "refresh = header Cache-Control"])
@pytest.mark.parametrize("headers", [{}, {"Cache-Control": "no-store"}])
def test_who_waits_for_a_forced_request_gets_a_stale_response(
    how: str, headers: dict[str, str]
) -> None:
    with LB.from_config(TEXT.replace("set_cookie", f"{how}\nset_cookie")) as lb:
        origin = serve(lb, Answer(200, b"one", GOOD), Answer(503, b"no", headers, after=1.0))
        lb.get("http://h/a")
        lb.advance(61)
        forced = {"Cache-Control": "no-cache"}
        first = lb.begin("GET", "http://h/a", headers=forced)
        waiting = [lb.begin("GET", "http://h/a") for _ in range(5)]
        assert first.wait(30).status == 503
        assert [one.wait(30).body for one in waiting] == [b"one"] * 5
        assert len(origin.requests) == 2


@pytest.mark.parametrize("status", [404, 503])
def test_an_error_for_others_has_no_field_of_one_hop(status: int) -> None:
    headers = {"Connection": "X-Hop", "X-Hop": "1", "X-End": "2"}
    found, count = together(Answer(status, b"no", headers, after=1.0), more="negative = 0s")
    assert [(one.header("X-Hop"), one.header("X-End")) for one in found] == [("", "2")] * 5
    assert count == 1


HOP = {"Connection": "X-Hop", "X-Hop": "1"}


@pytest.mark.parametrize("tag", ['"1"', '"2"'])
def test_no_response_has_a_field_of_one_hop(tag: str) -> None:
    """Neither a 304 by the cache, nor a stored response that a 304 has changed."""
    good = Answer(200, b"one", {"Cache-Control": "max-age=60", "ETag": '"1"', **HOP})
    same = Answer(304, headers={"Cache-Control": "no-store", "ETag": '"1"', **HOP})
    with LB.from_config(TEXT) as lb:
        serve(lb, good, same, good)
        asked = {"If-None-Match": tag}
        found = [lb.get("http://h/a", headers=asked)]
        lb.advance(61)
        found += [lb.get("http://h/a"), lb.get("http://h/a", headers=asked)]
        assert [one.status for one in found] == [304 if tag == '"1"' else 200, 200, found[0].status]
        assert [one.header("X-Hop") for one in found] == [""] * 3


def test_an_interim_response_has_no_field_of_one_hop() -> None:
    raw = (
        b"HTTP/1.1 103 Early Hints\r\nConnection: X-Hop\r\nX-Hop: 1\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    with LB.from_config(TEXT) as lb:
        lb.origin("a", "10.0.0.1:80", Answer(raw=raw))
        waiting = lb.begin("GET", "http://h/a")
        waiting.wait()
        received = waiting.client.received
        assert b" 103 " in received
        assert b"Link: </a>" in received
        assert b"X-Hop" not in received


@pytest.mark.parametrize("more", ["waiters = 2", "wait = 2s"])
@pytest.mark.parametrize("size", [3, 500_000])
@pytest.mark.parametrize("failure", ["status", "large", "cut", "refused", "silent"])
def test_who_no_longer_waits_gets_a_stale_response_after_a_failure(
    more: str, size: int, failure: str
) -> None:
    body = b"x" * size
    with LB.from_config(TEXT.replace("set_cookie", f"{more}\nset_cookie")) as lb:
        failures = {
            "status": Answer(503, b"no", after=5.0),
            "large": Answer(503, b"y" * 300_000, after=5.0),
            "cut": Answer(raw=b"HTTP/1.1 ", after=5.0, close=True),
        }
        answer = failures.get(failure, Answer(503, after=500.0))
        origin = serve(lb, Answer(200, body, GOOD), answer)
        lb.get("http://h/a")
        lb.advance(61)
        if failure == "refused":
            origin.stop(reset=True)
        waiting = [lb.begin("GET", "http://h/a") for _ in range(6)]
        found = [one.wait(200) for one in waiting]
        assert [one.status for one in found] == [200] * 6
        assert [one.body == body for one in found] == [True] * 6
        assert failure == "refused" or len(origin.requests) > 3
        assert lb.get("http://h/b").status >= 502


def test_a_post_gets_a_stale_response_after_a_failure() -> None:
    with LB.from_config(TEXT.replace("set_cookie", "post = 1k\nset_cookie")) as lb:
        serve(lb, Answer(200, b"one", GOOD), Answer(503, b"no", after=1.0))
        lb.request("POST", "http://h/a", body=b"q")
        lb.advance(61)
        waiting = [lb.begin("POST", "http://h/a", body=b"q") for _ in range(3)]
        assert [one.wait(30).body for one in waiting] == [b"one"] * 3


@pytest.mark.parametrize("how", ["client_no_cache = obey", "refresh = header Cache-Control"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_forced_request_gets_the_error(how: str, method: str) -> None:
    with LB.from_config(TEXT.replace("set_cookie", f"{how}\nset_cookie")) as lb:
        serve(lb, Answer(200, b"one", GOOD), Answer(503))
        lb.get("http://h/a")
        forced = {"Cache-Control": "no-cache"}
        assert lb.request(method, "http://h/a", headers=forced).status == 503
        assert lb.request(method, "http://h/a").status == 200
