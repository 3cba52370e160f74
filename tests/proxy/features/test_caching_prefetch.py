"""``prefetch``: what the Link fields of a stored page name is stored, too."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.cache.prefetching import prefetch_targets
from lbproxy.proxy.features.caching.prefetch import AT_ONCE, EVERY, MOST_QUEUED, PAUSE
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer, Request

TEXT = """
[lbproxy]
access_log = access.log json
[cache main]
prefetch = {prefetch}
[frontend web]
listen = tcp:80
cache = main
deny = 198.51.100.7
routes =
    path /other/* -> other
    default -> app
[backend app]
servers = a 10.0.0.1:80
retries = 0
[backend other]
servers = b 10.0.0.2:80
"""
MINUTE = {"Cache-Control": "max-age=60"}


class Site:
    """Pages with a Link field; all else is a file."""

    def __init__(self, link: str, prefetch: str = "yes", **more: str):
        self.lb: LoadBalancerFixture = LB.from_config(TEXT.format(prefetch=prefetch))
        self.link = link
        self.more = more
        self.after = self.page_after = 0.0
        self.asked: list[Request] = []
        self.lb.origin("a", "10.0.0.1:80", self.handle)
        self.lb.origin("b", "10.0.0.2:80", self.handle)

    def handle(self, request: Request) -> Answer:
        self.asked.append(request)
        if request.path.startswith("/page"):
            head = {**MINUTE, "Content-Type": "text/html; charset=utf-8", "Link": self.link}
            return Answer(200, b"page", {**head, **self.more}, after=self.page_after)
        return Answer(200, b"file", MINUTE, after=self.after)

    @property
    def paths(self) -> list[str]:
        return [one.path for one in self.asked]

    @property
    def counters(self) -> Any:
        return self.lb.service.caches["main"].counters

    def get(self, path: str = "/page", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.lb.get(f"http://h{path}", headers=named)


def test_links_of_a_page_are_stored_before_they_are_asked_for() -> None:
    site = Site("</a.css>; rel=preload; as=style, <other/b.js>; rel=modulepreload,"
                " <//h/next>; rel=prefetch, </c.css>; rel=stylesheet")  # fmt: skip
    with site.lb as lb:
        site.get(Accept_Encoding="gzip", User_Agent="me")
        lb.advance(1)
        assert site.paths == ["/page", "/a.css", "/other/b.js", "/next"]
        for path in site.paths[1:]:
            assert "hit" in site.get(path, Accept_Encoding="gzip").header("Cache-Status")
        assert len(site.asked) == 4
        first = site.asked[1]
        assert first.header("Accept-Encoding") == "gzip" and first.header("User-Agent") == "me"
        assert first.header("Sec-Purpose") == "prefetch"
        assert site.counters.prefetched == 3


@pytest.mark.parametrize(
    ("headers", "more", "prefetch"),
    [
        ({"Cookie": "a=b"}, {"Cache-Control": "public, max-age=60"}, "yes"),
        ({"Authorization": "Basic eDp5"}, {"Cache-Control": "public, max-age=60"}, "yes"),
        ({}, {"Cache-Control": "no-store"}, "yes"),
        ({}, {"Content-Type": "text/plain"}, "yes"),
        ({}, {}, "no"),
    ],
)
def test_nothing_is_requested(headers: dict[str, str], more: dict[str, str], prefetch: str) -> None:
    site = Site("</a.css>; rel=preload", prefetch=prefetch, **more)
    with site.lb as lb:
        site.get(**headers)
        lb.advance(1)
        assert site.paths == ["/page"]


def test_there_are_no_loops() -> None:
    site = Site("</page1>; rel=preload, </page2>; rel=preload, </page>; rel=preload")
    with site.lb as lb:
        site.get()
        lb.advance(10)
        assert site.paths == ["/page", "/page1", "/page2"]


def test_requests_are_bounded_in_number_at_once_and_in_time() -> None:
    site = Site(", ".join(f"</{number}>; rel=preload" for number in range(30)))
    site.after = 10.0
    with site.lb as lb:
        site.get()
        lb.advance(EVERY * 1.5)
        assert len(site.asked) == 2
        lb.advance(5)
        assert len(site.asked) == 1 + AT_ONCE
        lb.advance(100)
        assert len(site.asked) == 1 + 20
        site.link = "</late>; rel=preload"
        for number in range(MOST_QUEUED // 20 + 1):
            names = range(20)
            site.link = ", ".join(f"</{number}-{name}>; rel=preload" for name in names)
            site.get(f"/page{number}")
        assert site.counters.prefetch_dropped > 0


def test_a_url_is_not_requested_again_for_a_while_and_not_read_if_it_is_stored() -> None:
    site = Site("</a.css>; rel=preload")
    with site.lb as lb:
        site.get()
        lb.advance(1)
        site.get("/page1")
        lb.advance(1)
        assert site.paths == ["/page", "/a.css", "/page1"]
        lb.advance(PAUSE - 30)
        site.get("/a.css")
        site.get("/page2")
        lb.advance(1)
        assert site.counters.prefetched == 1
        lb.advance(30)
        site.get("/page3")
        lb.advance(1)
        assert site.counters.prefetched == 2


def test_the_log_shows_it_as_a_request_of_the_page_s_client() -> None:
    site = Site("</a.css>; rel=preload")
    with site.lb as lb:
        site.get()
        lb.advance(5)
        lines = [line for line in lb.log_lines() if "/a.css" in line]
    assert len(lines) == 1 and '"203.0.113.9"' in lines[0] and '"miss"' in lines[0]


def test_broken_links_of_a_page_do_not_ban_its_client() -> None:
    text = TEXT.format(prefetch="yes") + "[ban rude]\nafter = 5/1m\non = 4xx\n"
    links = ", ".join(f"</{number}>; rel=preload" for number in range(9))

    def handle(request: Request) -> Answer:
        head = {**MINUTE, "Content-Type": "text/html", "Link": links}
        return Answer(200, b"page", head) if request.path == "/page" else Answer(404)

    with LB.from_config(text.replace("cache = main\n", "cache = main\nbans = rude\n", 1)) as lb:
        origin = lb.origin("a", "10.0.0.1:80", handle)
        lb.get("http://h/page")
        lb.advance(2)
        assert len(origin.requests) == 10
        assert lb.get("http://h/page").status == 200
        for _ in range(5):
            lb.get("http://h/missing")
        assert lb.service.frontends["web"].features["bans"].counters.bans == 1


def test_a_stop_ends_what_is_under_way() -> None:
    site = Site("</a.css>; rel=preload, </b.css>; rel=preload")
    site.after = 30.0
    with site.lb as lb:
        site.get()
        lb.advance(EVERY)
        cache = lb.service.caches["main"]
        cache.stop()
        lb.advance(1)
        assert not cache._prefetcher._running and not cache._prefetcher._queue
        assert not cache._running


@pytest.mark.parametrize("head", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
def test_what_is_too_large_to_be_stored_is_not_read_to_its_end(head: bytes) -> None:
    with LB.from_config(TEXT.format(prefetch="yes\nmax_object = 1000")) as lb:
        link = {**MINUTE, "Content-Type": "text/html", "Link": "</a>; rel=preload"}
        raw = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n" + head + b"\r\n\r\n"
        parts = Answer(raw=raw + b"3e9\r\n" + 0x3E9 * b"x" + b"\r\n")  # and no end
        lb.origin("a", "10.0.0.1:80", lambda asked: parts if asked.path == "/a" else page)
        page = Answer(200, b"page", link)
        lb.get("http://h/page")
        lb.advance(1)
        assert lb.service.caches["main"].counters.prefetched == 1
        assert not lb.service.caches["main"]._prefetcher._running
        assert lb.backend("app").group.active == 0


def test_a_page_that_ends_after_its_cache_was_removed_causes_none() -> None:
    site = Site("</a.css>; rel=preload")
    site.page_after = 2.0
    with site.lb as lb:
        page = lb.begin("GET", "http://h/page", headers={"Host": "h"})
        lb.advance(1)
        assert lb.service.reload(TEXT.format(prefetch="yes").replace("cache = main\n", "")).ok
        lb.advance(5)
        assert page.wait(1).status == 200 and site.paths == ["/page"]


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        (b"/a", b"/a"),
        (b"a?x=1#frag", b"/dir/a?x=1"),
        (b"../a", b"/a"),
        (b"http://H:80/a", b"/a"),
        (b"//h/a", b"/a"),
        (b"?x", b"/dir/page?x"),
        (b"https://h/a", None),
        (b"http://other/a", None),
        (b"http://h:81/a", None),
        (b"http://h@other/a", None),
        (b"javascript:alert(1)", None),
        (b"http://[/a", None),
        (b"/a\\b", None),
        (b"/\xff", None),
        (b"", None),
        (b"#part", None),
        (b"page", None),
    ],
)
def test_targets_are_of_the_same_origin(reference: bytes, target: bytes | None) -> None:
    class Page:
        url = b"http://h/dir/page"
        status = 200

        def header(self, name: bytes) -> bytes | None:
            return b"text/html"

        def header_values(self, name: bytes) -> list[bytes]:
            return [b"<%b>; rel=preload" % reference]

    page: Any = Page()
    assert prefetch_targets(page) == ([] if target is None else [target])
