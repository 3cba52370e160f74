"""The calls that corsproxy.io documents, with another host: https://corsproxy.io/docs/."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ada_url")
pytest.importorskip("selectolax")

from twisted.internet.defer import Deferred

from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.proxy.features.corsproxy.conversion import Conversions
from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request

KEY = "YOUR_API_KEY"
TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
[cache main]
[frontend cors]
mode = corsproxy
listen = tcp:8090
keys = {path}
cache = main
convert = yes
convert_max = 10k
"""
FEED = b"<rss><channel><title>T</title><item><title>I</title></item></channel></rss>"
PAGES = {
    "/data.csv": (b"a,b\n1,2\n", "text/csv"),
    "/data.xml": (b"<r><a>1</a></r>", "application/xml"),
    "/feed.xml": (FEED, "application/rss+xml"),
    "/news": (b"<p class=titleline><a href=x>Title</a></p>", "text/html"),
    "/large.csv": (b"a\n" * 10_000, "text/csv"),
    "/bad.xml": (b"<a", "application/xml"),
}


OF_THE_BODY = {
    "ETag": '"e"',
    "Digest": "sha-256=eA==",
    "Content-Digest": "sha-256=:eA==:",
    "Repr-Digest": "sha-256=:eA==:",
}
"""Fields that are wrong for a body that was converted."""


def answer(request: Request) -> Answer:
    body, kind = PAGES.get(request.target.partition("?")[0], (b'{"id":1}', "application/json"))
    if request.header("Accept-Encoding") == "gzip":
        return Answer(200, b"x", {"Content-Encoding": "gzip"})
    return Answer(200, body, {"Content-Type": kind, "Cache-Control": "max-age=60", **OF_THE_BODY})


@pytest.fixture
def lb(tmp_path: Path) -> Iterator[LoadBalancerFixture]:
    path = tmp_path / "keys.json"
    path.write_text(KeyRing([KeyRecord("app", hashed(KEY))]).dump())
    with LB.from_config(TEXT.format(path=path)) as found:
        found.reactor.resolver.table["example.com"] = ["10.1.0.1"]
        found.origin("example", "10.1.0.1:80", answer)
        yield found


def fetch(
    lb: LoadBalancerFixture, call: str, method: str = "GET", body: bytes | None = None, **more: str
) -> Response:
    """``fetch("https://corsproxy.io" + call)`` of a page."""
    headers = {"Origin": "https://app.example.com"}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    call += f"&key={KEY}"
    return lb.request(method, f"http://proxy:8090{call}", headers=headers, body=body)


def test_a_simple_call(lb: LoadBalancerFixture) -> None:
    response = fetch(lb, "/?url=http://example.com/posts/1")
    assert json.loads(response.body) == {"id": 1}
    assert response.header("X-Cache-Status") == "MISS"
    assert fetch(lb, "/?url=http://example.com/posts/1").header("X-Cache-Status") == "HIT"


def test_a_post_and_an_api_with_a_login(lb: LoadBalancerFixture) -> None:
    body = b'{"name":"John"}'
    json_type = {"Content_Type": "application/json"}
    assert fetch(lb, "/?url=http://example.com/users", "POST", body, **json_type).status == 200
    response = fetch(lb, "/?url=http://example.com/data", Authorization="Bearer K")
    assert response.header("X-Cache-Status") == "BYPASS"
    (post, get) = lb.origins["example"].requests
    assert (post.method, post.body, post.target) == ("POST", body, "/users")
    assert get.header("Authorization") == "Bearer K"


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("/?url=http://example.com/data.csv&input=csv&output=json", [{"a": "1", "b": "2"}]),
        ("/?url=http://example.com/data.csv&convert=csv", [{"a": "1", "b": "2"}]),
        ("/?url=http://example.com/data.xml&output=json&input=xml", {"r": {"a": "1"}}),
        ("/?url=http%3A%2F%2Fexample.com%2Fdata.xml&input=xml&output=json", {"r": {"a": "1"}}),
    ],
)
def test_conversions(lb: LoadBalancerFixture, call: str, found: Any) -> None:
    response = settled(lb, call)
    assert json.loads(response.body) == found
    assert response.header("Content-Type") == "application/json; charset=utf-8"
    assert [response.header(name) for name in OF_THE_BODY] == [""] * len(OF_THE_BODY)
    assert int(response.header("Content-Length")) == len(response.body)
    assert lb.origins["example"].requests[0].header("Accept-Encoding") == "identity"


def settled(lb: LoadBalancerFixture, call: str) -> Response:
    """The response to a call whose body is converted in a thread."""
    client = lb.connect("cors")
    client.send(
        f"GET {call}&key={KEY} HTTP/1.1\r\nHost: proxy\r\nAccept-Encoding: gzip\r\n"
        "Origin: https://app.example.com\r\n\r\n".encode()
    )
    deadline = time.monotonic() + 60
    while not client.received and time.monotonic() < deadline:
        lb.advance(0.0)
        time.sleep(0.001)
    head, _, body = client.take().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = [(name, value) for name, _, value in (one.partition(": ") for one in lines[1:])]
    return Response(int(lines[0].split()[1]), headers, body)


def test_a_feed_and_a_selector(lb: LoadBalancerFixture) -> None:
    feed = json.loads(settled(lb, "/?url=http://example.com/feed.xml&input=rss&output=json").body)
    assert feed["items"][0]["title"] == "I"
    call = "/?url=http://example.com/news&extract=1&selector=.titleline%20%3E%20a"
    (found,) = json.loads(settled(lb, call).body)
    assert (found["text"], found["attributes"]) == ("Title", {"href": "x"})
    plain = fetch(lb, "/?url=http://example.com/news")  # the stored page is the page itself
    assert plain.body.startswith(b"<p class")
    assert plain.header("X-Cache-Status") == "HIT"


@pytest.mark.parametrize(
    "call",
    [
        "/?url=http://example.com/large.csv&convert=csv",
        "/?url=http://example.com/bad.xml&convert=xml",
    ],
)
def test_what_cannot_be_converted(lb: LoadBalancerFixture, call: str) -> None:
    response = settled(lb, call)
    assert response.status == 502
    assert json.loads(response.body)["error"]["status"] == 502


@pytest.mark.parametrize(
    "more",
    [
        "convert=pdf",
        "input=csv&output=xml",
        "extract=1",
        "extract=a:has(b)",
        "extract=a&convert=csv",
    ],
)
def test_conversions_that_there_are_not(lb: LoadBalancerFixture, more: str) -> None:
    assert fetch(lb, f"/?url=http%3A%2F%2Fexample.com%2F&{more}").status == 400


def test_parameters_of_the_target_stay_its_own(lb: LoadBalancerFixture) -> None:
    fetch(lb, "/?url=http://example.com/a?input=x&output=json&selector=1")
    assert lb.origins["example"].requests[0].target == "/a?input=x&output=json&selector=1"


def test_headers(lb: LoadBalancerFixture) -> None:
    change = (
        "&resHeaders=content-type:text/plain&resHeaders=cache-control:no-cache&resHeaders=expires:0"
    )
    response = fetch(lb, f"/?url=http://example.com/api.json{change}")
    assert response.header("Content-Type") == "text/plain"
    assert response.header("Cache-Control") == "no-cache"
    removed = "&resHeaders=x-frame-options:&resHeaders=content-security-policy:"
    assert fetch(lb, f"/?url=http://example.com/embed{removed}").status == 200
    own = "&resHeaders=access-control-allow-origin:https://evil.example"
    assert (
        fetch(lb, f"/?url=http://example.com/api{own}").header("Access-Control-Allow-Origin")
        == "https://app.example.com"
    )
    fetch(lb, "/?url=http://example.com/x&reqHeaders=authorization:Bearer%20TOKEN")
    assert lb.origins["example"].requests[-1].header("Authorization") == "Bearer TOKEN"


def test_ttl_and_colo(lb: LoadBalancerFixture) -> None:
    assert fetch(lb, "/?url=http://example.com/data&ttl=300&colo=fra").status == 200
    lb.advance(299.0)
    again = fetch(lb, "/?url=http://example.com/data&ttl=300&colo=fra")
    assert again.header("X-Cache-Status") == "HIT"


def test_the_older_bare_form(lb: LoadBalancerFixture) -> None:
    assert fetch(lb, "/?http%3A%2F%2Fexample.com%2Fold").status == 200


def test_conversions_are_off_by_default() -> None:
    text = TEXT.format(path="none").replace("convert = yes", "").replace("convert_max = 10k", "")
    with LB.from_config(text.replace("keys = none", "open = yes")) as lb:
        for more in ("convert=csv", "extract=h1"):
            response = fetch(lb, f"/?url=http%3A%2F%2Fexample.com%2F&{more}")
            assert response.status == 400
            assert b"is not supported" in response.body


@pytest.mark.parametrize("more", ["convert=csv", "extract=a"])
def test_only_a_200_is_converted(lb: LoadBalancerFixture, more: str) -> None:
    missing = Answer(404, b"no,such\nfile,here", {"Content-Type": "text/csv"})
    lb.origins["example"].handler = lambda request: missing
    response = fetch(lb, f"/?url=http://example.com/data.csv&{more}")
    assert (response.status, response.body) == (404, b"no,such\nfile,here")
    assert response.header("Content-Type") == "text/csv"


def test_a_conversion_is_forgotten_with_its_call(
    lb: LoadBalancerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Deferred[bytes] = Deferred()
    monkeypatch.setattr(Conversions, "run", lambda *_: job)
    client = lb.connect("cors")
    client.send(
        f"GET /?url=http://example.com/data.csv&convert=csv&key={KEY} HTTP/1.1\r\nHost: p\r\n"
        "Origin: https://app.example.com\r\n\r\n".encode()
    )
    assert not job.called
    client.abort()
    lb.advance(0.1)
    assert job.called


def test_head_describes_what_get_would_send(lb: LoadBalancerFixture) -> None:
    call = f"http://proxy:8090/?url=http://example.com/data.csv&key={KEY}"
    xml = call.replace(".csv", ".xml")  # an empty body is no XML
    for converted in (f"{call}&convert=csv", f"{call}&extract=a", f"{xml}&convert=xml"):
        response = lb.request("HEAD", converted, headers={"Origin": "https://app.example.com"})
        assert response.status == 200
        assert response.header("Content-Type") == "application/json; charset=utf-8"
        assert all(response.header(name) == "" for name in (*OF_THE_BODY, "Content-Length"))
        assert response.body == b""
    plain = lb.request("HEAD", call, headers={"Origin": "https://app.example.com"})
    assert (plain.header("Content-Type"), plain.header("Content-Length")) == ("text/csv", "8")
