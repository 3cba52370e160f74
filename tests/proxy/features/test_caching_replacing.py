"""``min_uses`` and responses that take the place of stored ones."""

from __future__ import annotations

from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request
from tests.support.caching import config_with

URL = "http://h/a"


def start(cache: str = "") -> LoadBalancerFixture:
    """A load balancer whose origin numbers its responses."""
    lb = LB.from_config(config_with(cache))
    count = 0

    def handle(_: Request) -> Answer:
        nonlocal count
        count += 1
        return Answer(200, b"%d" % count, {"Cache-Control": "max-age=60"})

    lb.origin("a", "10.0.0.1:80", handle)
    return lb


def body(response: Response) -> bytes:
    return response.body


def test_min_uses_count_once_and_not_for_each_refresh() -> None:
    with start("min_uses = 2") as lb:
        assert [body(lb.get(URL)) for _ in range(3)] == [b"1", b"2", b"2"]
        lb.advance(61)
        assert [body(lb.get(URL)) for _ in range(2)] == [b"3", b"3"]


def test_a_refresh_in_the_background_is_stored_with_min_uses() -> None:
    with start("min_uses = 2\ngrace_refresh = 1h") as lb:
        assert [body(lb.get(URL)) for _ in range(3)] == [b"1", b"2", b"2"]
        lb.advance(61)
        assert body(lb.get(URL)) == b"2"
        lb.advance(0)
        assert [body(lb.get(URL)) for _ in range(2)] == [b"3", b"3"]
