"""``early_hints``: a 103 with the links of the page that was stored last."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer
from tests.support.purging import purged

TEXT = """
[cache main]
early_hints = {hints}
cookies = key user
[frontend web]
listen = tcp:80
cache = main
routes =
    header X-Beta -> beta
    default -> app
[backend app]
servers = a 10.0.0.1:80
[backend beta]
servers = a 10.0.0.1:80
"""
PAGE = {
    "Cache-Control": "max-age=60",
    "Link": "</a.css>; rel=preload; as=style, </next>; rel=next",
}
NAVIGATES = {"Sec-Fetch-Mode": "navigate"}


def start(hints: str = "yes", **more: str) -> tuple[LoadBalancerFixture, Any]:
    lb = LB.from_config(TEXT.format(hints=hints))
    return lb, lb.origin("a", "10.0.0.1:80", Answer(200, b"page", {**PAGE, **more}, after=1.0))


def hinted(response: Response) -> list[int]:
    return response.interim


def test_the_browser_gets_the_links_before_the_page_is_fetched() -> None:
    lb, origin = start()
    with lb:
        assert not hinted(lb.get("http://h/", headers=NAVIGATES)), "nothing is known yet"
        assert not hinted(lb.get("http://h/", headers=NAVIGATES)), "a hit comes at once"
        lb.advance(61)
        pending = lb.begin("GET", "http://h/", headers=NAVIGATES)
        (early,) = pending.client.reader.interim
        assert early.start == "HTTP/1.1 103 Early Hints"
        assert early.header("Link") == "</a.css>; rel=preload; as=style"
        found = pending.wait()
        assert (found.status, found.body, len(origin.requests)) == (200, b"page", 2)
        assert not hinted(lb.get("http://h/other", headers=NAVIGATES))
        assert lb.service.caches["main"].counters.hinted == 1


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Mode": "cors"}])
def test_others_get_none(headers: dict[str, str]) -> None:
    lb, _ = start()
    with lb:
        lb.get("http://h/")
        lb.advance(61)
        assert not hinted(lb.get("http://h/", headers=headers))


@pytest.mark.parametrize(
    ("hints", "more"),
    [
        ("no", {}),
        ("yes", {"Cache-Control": "private, max-age=60"}),
        ("yes", {"Cache-Control": "no-store"}),
        ("yes", {"Set-Cookie": "a=b"}),
    ],
)
def test_links_of_what_is_not_stored_are_not_remembered(hints: str, more: dict[str, str]) -> None:
    lb, _ = start(hints, **more)
    with lb:
        lb.get("http://h/")
        lb.advance(61)
        assert not hinted(lb.get("http://h/", headers=NAVIGATES))
        assert not lb.service.caches["main"].hints


def test_a_purge_forgets_them() -> None:
    lb, _ = start()
    with lb:
        lb.get("http://h/")
        purged(lb.service.caches["main"], Purge("url", b"http://h/"))
        assert not hinted(lb.get("http://h/", headers=NAVIGATES))


@pytest.mark.parametrize("own", [{"Cookie": "user=bob"}, {"X-User": "bob"}, {"X-Beta": "1"}])
def test_links_go_only_to_clients_who_could_get_the_page(own: dict[str, str]) -> None:
    lb, _ = start(Vary="X-User")
    with lb:
        lb.get("http://h/", headers=own)
        lb.advance(61)
        assert hinted(lb.get("http://h/", headers={**own, **NAVIGATES})) == [103]
        assert not hinted(lb.get("http://h/", headers=NAVIGATES)), "the page of somebody else"
