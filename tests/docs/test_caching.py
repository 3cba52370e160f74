"""The recipes of ``docs/caching.rst``, each run with a server on the virtual clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent

import pytest

from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer, HTTPOrigin, Request

from .pages import DOCS

PAGE = (DOCS / "caching.rst").read_text(encoding="utf-8")


def recipe(title: str) -> str:
    """Return the configuration below a heading, without the admin socket."""
    found = re.search(rf"^{title}\n~+\n[^~]*?code-block:: ini\n\n((?:   .*\n|\n)+)", PAGE, re.M)
    assert found is not None, title
    return dedent(found[1]).replace("admin = unix:lbproxy.sock\n", "")


def page(request: Request) -> Answer:
    """Return a page that states no lifetime and shows its target."""
    kind = "image/png" if request.target.startswith("/img") else "text/html; charset=utf-8"
    body = f"{request.target} {request.header('X-Device') or ''}".strip().encode()
    headers = {"Content-Type": kind}
    if request.target == "/login":
        headers["Set-Cookie"] = "session=1"
    return Answer(404 if request.target == "/none" else 200, body, headers)


class Shop:
    """One recipe in use."""

    def __init__(self, title: str) -> None:
        self.lb: LoadBalancerFixture = LB.from_config(recipe(title))
        name = re.findall(r"servers = (\S+)", recipe(title))[0]
        self.origin: HTTPOrigin = self.lb.origin(name, "10.0.0.11:8000", page)

    def status(self, path: str, **headers: str) -> str:
        """Return what the cache did with a request, without its name and numbers."""
        pairs = {name.replace("_", "-"): value for name, value in headers.items()}
        text = self.lb.get(f"http://h:8080{path}", headers=pairs).header("Cache-Status")
        return text.partition("; ")[2].partition(";")[0]


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    made = Shop(request.param)
    yield made
    made.lb.close()


@pytest.mark.parametrize("shop", ["A website"], indirect=True)
def test_a_website(shop: Shop) -> None:
    assert shop.status("/") == "fwd=uri-miss"
    assert shop.status("/?utm_source=x&fbclid=1", Cookie="_ga_1=2; _fbp=3") == "hit"
    assert shop.status("/", Cookie="lang=de") == "fwd=uri-miss"
    assert shop.status("/", Cookie="lang=de; _ga=2") == "hit"
    assert shop.status("/", Cookie="sessionid=1") == "fwd=bypass"
    assert shop.status("/admin/") == "fwd=bypass"
    for path in ("/img/a", "/static/a", "/none"):
        shop.status(path)
    shop.lb.advance(11)
    assert "ttl=-1" in shop.lb.get("http://h:8080/none").header("Cache-Status"), "grace_refresh"
    shop.lb.advance(3600)
    assert [shop.status(path) for path in ("/img/a", "/static/a")] == ["hit", "hit"]
    shop.status("/late")
    shop.lb.advance(70)
    shop.origin.handler = Answer(503, b"down")
    assert "grace" in shop.lb.get("http://h:8080/late").header("Cache-Status")


@pytest.mark.parametrize("shop", ["A shop or blog with logins"], indirect=True)
def test_a_shop_or_blog(shop: Shop) -> None:
    assert shop.status("/post") == "fwd=uri-miss"
    assert shop.status("/post?gclid=1", Cookie="any=1; other=2") == "hit"
    for cookie in ("wordpress_logged_in_ab=1", "a=1; woocommerce_items_in_cart=1"):
        assert shop.status("/post", Cookie=cookie) == "fwd=bypass"
    for path in ("/wp-admin/x", "/wp-login.php", "/cart/", "/post?preview=true"):
        assert shop.status(path) == "fwd=bypass"
    assert shop.status("/other", Cookie="any=1") == "fwd=uri-miss"
    assert shop.origin.requests[-1].header("Cookie") == ""
    assert [shop.status("/login"), shop.status("/login")] == ["fwd=uri-miss"] * 2
    assert shop.lb.request("PURGE", "http://h:8080/post", client="10.0.0.7").status == 200
    assert shop.status("/post") == "fwd=uri-miss"


@pytest.mark.parametrize("shop", ["Pages for devices"], indirect=True)
def test_pages_for_devices(shop: Shop) -> None:
    asked = ["Mobile one", "Desktop one", "Mobile two", "Desktop two"]
    found = [shop.lb.get("http://h:8080/", headers={"User-Agent": one}).body for one in asked]
    assert found == [b"/ mobile", b"/ desktop"] * 2
    assert len(shop.origin.requests) == 2


@pytest.mark.parametrize("shop", ["An API"], indirect=True)
def test_an_api(shop: Shop) -> None:
    headers = {"Cache-Control": "max-age=60", "ETag": '"1"'}
    shop.origin.handler = Answer(200, b"{}", headers)
    assert shop.status("/v1?b=1&a=2") == "fwd=uri-miss"
    assert shop.status("/v1?a=2&b=1") == "hit"
    shop.origin.handler = Answer(304, b"", headers)
    answer = shop.lb.get("http://h:8080/v1?a=2&b=1", headers={"Cache-Control": "no-cache"})
    assert (answer.status, answer.body) == (200, b"{}")
    assert shop.origin.requests[-1].header("If-None-Match") == '"1"'


@pytest.mark.parametrize("shop", ["Downloads"], indirect=True)
def test_downloads(shop: Shop) -> None:
    shop.origin.handler = Answer(200, bytes(range(100)), {"ETag": '"1"'})
    assert [shop.status("/releases/a") for _ in range(3)] == ["fwd=uri-miss", "fwd=uri-miss", "hit"]
    part = shop.lb.get("http://h:8080/releases/a", headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, bytes(range(10, 20)))
    assert len(shop.origin.requests) == 2
