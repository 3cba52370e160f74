"""Caches in ``lbproxy explain``: the key of a request, and what the configuration decides."""

from __future__ import annotations

import pytest

from lbproxy.decide.explain import explain_http
from lbproxy.http.message import header_pairs
from lbproxy.registry import parse_config

TEXT = """
[cache main]
query = sort ignore=utm_*
cookies = key lang, ignore _ga, bypass session
bypass = path /admin/*
refresh = header X-Refresh
ttl =
    404 10s
    type image/* 1d
    path /static/* 1h
    default 1m
    503 5s
[frontend web]
listen = tcp:80
cache = main
routes = path /api/* -> app cache=none
backend = app
[backend app]
servers = a 10.0.0.1:80
"""


@pytest.mark.parametrize(
    ("url", "headers", "lines"),
    [
        (
            "/a?b=2&utm_x=1&a=1",
            [],
            [
                "main: key backend=app scheme=http host=h target=/a?a=1&b=2",
                "main: No-Vary-Search of a response of this path may ignore parts of the query",
                "main: ttl 404 10s",
                "main: ttl type image/* 1d",
                "main: ttl default 1m",
                "main: ttl 503 5s",
            ],
        ),
        (
            "/static/x",
            [("Cookie", "lang=de; _ga=1"), ("X-Refresh", "1")],
            [
                "main: key backend=app scheme=http host=h target=/static/x lang=de",
                "main: refresh: not looked up, but stored",
                "main: ttl 404 10s",
                "main: ttl type image/* 1d",
                "main: ttl path /static/* 1h",
                "main: ttl 503 5s",
            ],
        ),
        ("/admin/x", [], ["main: goes to a server: bypass path /admin/*"]),
        ("/a", [("Cookie", "session=1")], ["main: goes to a server: cookie bypasses"]),
        ("/api/x", [], []),
    ],
)
def test_the_key_and_the_decision(
    url: str, headers: list[tuple[str, str]], lines: list[str]
) -> None:
    found = explain_http(parse_config(TEXT), "GET", f"http://h{url}", header_pairs(headers))
    assert found.cache == lines
    for line in lines:
        assert f"cache      {line}" in found.as_text()


def test_what_the_client_sends() -> None:
    config = parse_config(TEXT)
    headers = [("Authorization", "x"), ("Cache-Control", "no-cache"), ("Cookie", "other=1")]
    found = explain_http(config, "GET", "http://h/a", header_pairs(headers)).cache
    assert found[1:4] == [
        "main: cookies that the policy does not name: only public responses",
        "main: Authorization: only public, s-maxage or must-revalidate responses",
        "main: the client demands a revalidation (revalidate)",
    ]
    (found_post,) = explain_http(config, "POST", "http://h/a", []).cache
    assert found_post == "main: goes to a server: method"


def test_prefetch_is_for_requests_without_cookies() -> None:
    text = TEXT.replace("[cache main]", "[cache main]\nprefetch = yes\nno_vary_search = no")
    config = parse_config(text)
    for headers, shown in (([], True), ([("Cookie", "_ga=1")], False)):
        found = explain_http(config, "GET", "http://h/a?b=1", header_pairs(headers)).cache
        assert any("prefetch" in line for line in found) is shown
        assert not any("No-Vary-Search" in line for line in found)


def test_a_question_mark_without_a_query_is_in_the_key() -> None:
    (line, *_) = explain_http(parse_config(TEXT), "GET", "http://h/odd?#x", []).cache
    assert "target=/odd?" in line
