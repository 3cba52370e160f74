"""Paths in the conditions and in ``ttl`` of a cache are compared as a server interprets them."""

from __future__ import annotations

import pytest

from lbproxy.testing import LB
from lbproxy.testing.origin import Answer, Request

TEXT = """
[cache main]
post = 64k
{cache}
[frontend web]
listen = tcp:80
cache = main
backend = app
[backend app]
servers = a 10.0.0.1:80
"""


def echo(request: Request) -> Answer:
    return Answer(200, request.target.encode(), {})


@pytest.mark.parametrize("key", ["bypass", "refresh"])
@pytest.mark.parametrize("path", ["/x/..%5cadmin/", "/static/%2e%2e%2faccount", "/../admin/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_ambiguous_path_is_a_400_if_a_condition_compares_it(
    key: str, path: str, method: str
) -> None:
    with LB.from_config(TEXT.format(cache=f"{key} = path /admin/*")) as lb:
        origin = lb.origin("a", "10.0.0.1:80", echo)
        body = b"q=1" if method == "POST" else b""
        assert lb.request(method, f"http://h{path}", body=body).status == 400
        assert lb.request(method, "http://h/admin/x", body=body).status == 200
        assert len(origin.requests) == 1


def test_a_condition_that_is_tested_after_the_body_gives_a_400_too() -> None:
    with LB.from_config(TEXT.format(cache="refresh = path /admin/*")) as lb:
        lb.origin("a", "10.0.0.1:80", echo)
        client = lb.connect("web")
        client.send(b"POST /x/..%5ca HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n")
        lb.advance(0.01)
        client.send(b"q=1")
        lb.advance(0.01)
        assert client.received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ("/static/a.css", True),
        ("/st%61tic/a.css", True),
        ("//static/./a.css", True),
        ("/static/../account", False),
        ("/static/%2e%2e/account", False),
        ("/static/%2e%2e%2faccount", False),
        ("/static/..;x/account", False),
        ("/static", False),
    ],
)
def test_ttl_compares_the_path_that_the_server_answers(path: str, stored: bool) -> None:
    with LB.from_config(TEXT.format(cache="ttl = path /static/* 1d")) as lb:
        origin = lb.origin("a", "10.0.0.1:80", echo)
        lb.get(f"http://h{path}")
        lb.get(f"http://h{path}")
        assert len(origin.requests) == (1 if stored else 2)


def test_a_line_with_a_path_takes_the_patterns_of_routes() -> None:
    text = TEXT.format(cache=r"ttl = path ~\.(css|js)$ 1d")
    with LB.from_config(text) as lb:
        origin = lb.origin("a", "10.0.0.1:80", echo)
        for path in ("/a.css", "/a.css", "/a.html", "/a.html"):
            lb.get(f"http://h{path}")
        assert [one.target for one in origin.requests] == ["/a.css", "/a.html", "/a.html"]


def test_brackets_in_names_are_text() -> None:
    cache = "ttl = default 1m\nquery = ignore=filter[*]\ncookies = ignore a[b]"
    with LB.from_config(TEXT.format(cache=cache)) as lb:
        origin = lb.origin("a", "10.0.0.1:80", echo)
        lb.get("http://h/?filter[a]=1&f=2", headers={"Cookie": "a[b]=1"})
        assert lb.get("http://h/?f=2").body == b"/?f=2"
        assert len(origin.requests) == 1
