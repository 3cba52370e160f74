"""Conditions of one line that exclude each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.config.conditions import read_conditions
from lbproxy.config.errors import Problems
from lbproxy.config.line import Scope
from lbproxy.config.options import Spot
from lbproxy.config.words import split
from lbproxy.http.condition import compile_condition
from lbproxy.http.contradiction import excluded
from lbproxy.model import Where
from tests.http.test_route import http


def message(text: str) -> str:
    """The error about a line, "" if it is good."""
    problems = Problems()
    spot = Spot(problems, "frontend web", "routes", Where("lb.ini", 1))
    scope = Scope(lambda kind, name: None, lambda kind: ("office",))
    read_conditions(split(text), spot, scope, response=True)
    return "\n".join(error.message for error in problems.errors)


@pytest.mark.parametrize(
    "text",
    [
        "path /a/* path /b/*",
        "path /a path /a/*",
        "path /a/* header X-A path /b/* method GET",
        "path *.png path *.jpg",
        "path /a/*.png path /b/*.png",
        "path ~^/a/ path /b",
        "method GET method POST",
        "host a.example.com host b.example.com",
        "host *.example.com host example.org",
        "host *.example.com host *.example.org",
        "host *.example.com host example.com",
        "sni a.example.com sni b.example.com",
        "scheme http scheme https",
        "port 80 port 443",
        "client 10.0.0.0/8 client 192.168.0.0/16",
        "client 10.0.0.0/8 client 2001:db8::/32",
        "status 404 status 5xx",
        "time mon-fri time sat-sun",
        "time 08:00-12:00 time 13:00-17:00",
        "cookie A x cookie A y",
        "query A x* query A y*",
        "method GET not method GET POST",
        "not path /a/* path /a/b /a/c/*",
        "host a.example.com not host *.example.com",
        "header X-A not header x-a",
        "header X-A 1 not header X-A",
        "alpn h2 not alpn h2 http/1.1",
        "client 10.1.0.0/16 not client 10.0.0.0/8",
        "client ::ffff:10.1.0.0/112 not client 10.0.0.0/8",
        "path ~^/a not path ~^/a",
        "time mon not time mon-fri",
        "status 503 not status 5xx",
    ],
)
def test_never_matches(text: str) -> None:
    assert message(text).startswith("never matches: all conditions must hold, and '")


@pytest.mark.parametrize(
    "text",
    [
        "path /a/* path /a/b/*",
        "path /a/* path *.png",
        "path /a/* not path /a/b/*",
        "path ~^/a path ~b$",
        "path ~^/a path /b/*",
        "path /a/?b path /a/*",
        "method GET POST method POST PUT",
        "method GET not method POST",
        "host *.example.com host a.example.com",
        "host * host a.example.com",
        "host *.example.com not host a.example.com",
        "client 10.0.0.0/8 client 10.1.0.0/16",
        "client 10.0.0.0/8 not client 10.1.0.0/16",
        "client 10.0.0.0/8 client list:office",
        "client 10.0.0.0/8 client country:DE",
        "client country:DE not client 10.0.0.0/8",
        "client country:DE asn:64500 client country:FR",
        "client ::ffff:10.0.0.0/104 client 10.0.0.0/8",
        "client ::ffff:0:0/96 client 10.1.2.3",
        "alpn h2 alpn http/1.1",
        "header X-A 1 header X-A 2",
        "header X-A header X-B",
        "header X-A not header X-A 1",
        "cookie A x cookie B y",
        "query A x* query A *y",
        "time mon-fri time 22:00-06:00",
        "time 22:00-06:00 time 05:00-07:00",
        "not method GET not method POST",
        "status 4xx status 404",
        "port 80 client 10.0.0.0/8",
    ],
)
def test_may_match(text: str) -> None:
    assert message(text) == ""


def test_the_message_has_the_line_that_was_meant_and_no_secrets() -> None:
    assert message("path /a/* path /b/* /c") == (
        "never matches: all conditions must hold, and 'path /a/*' excludes 'path /b/* /c'; "
        "write 'path /a/* /b/* /c' if either may hold"
    )
    secret = message("header Authorization abcdef not header Authorization abc*")
    assert "excludes" in secret and "abc" not in secret


PATHS = st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b.png", "/b", "/b/a.png", "/x.png"])
PATTERNS = st.sampled_from(
    ["/a", "/a/*", "/*", "*.png", "/a/*.png", "/?", "/b/*", "~a", "~^/b", "~png$", "/a/b"]
)
METHODS = st.sampled_from(["GET", "POST", "PUT"])
CONDITIONS = st.lists(
    st.one_of(
        st.tuples(st.just("path"), st.lists(PATTERNS, min_size=1, max_size=2), st.booleans()),
        st.tuples(st.just("method"), st.lists(METHODS, min_size=1, max_size=2), st.booleans()),
    ),
    min_size=1,
    max_size=3,
)


@given(CONDITIONS, PATHS, METHODS)
def test_nothing_that_matches_is_refused(
    written: list[tuple[str, list[str], bool]], path: str, method: str
) -> None:
    conditions = [(verb, tuple(args), negated) for verb, args, negated in written]
    compiled = [compile_condition(*condition) for condition in conditions]
    traffic = http(path, method=method)
    if all(one.holds(traffic, path.encode()) for one in compiled):
        assert excluded(conditions) is None
