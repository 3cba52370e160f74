"""Timeouts and limits of a route: what is read, what is refused, and what is written again."""

from __future__ import annotations

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.decide.explain import explain_http
from lbproxy.registry import parse_config

TEXT = """
[frontend web]
listen = tcp:80
{more}
routes =
    path /slow/* -> app {options}
    default      -> app
[backend app]
servers = a 10.0.0.1:80
"""
ALL = (
    "timeout_queue=1s timeout_response=2m timeout_server=3s timeout_tunnel=1h retries=0 max_body=4k"
)


def test_every_option_is_read_and_written_again() -> None:
    config = parse_config(TEXT.format(more="", options=ALL))
    route = config.frontends[0].routes[0]
    assert (route.timeout_queue, route.timeout_response) == (1.0, 120.0)
    assert (route.timeout_server, route.timeout_tunnel) == (3.0, 3600.0)
    assert (route.retries, route.max_body) == (0, 4096)
    assert route.text.startswith("path /slow/* -> app timeout_queue=1s timeout_response=2m")
    assert parse_config(dump(config)).frontends[0].routes[0] == route
    assert config.frontends[0].routes[1].timeout_response is None


@pytest.mark.parametrize(
    ("more", "options", "error"),
    [
        ("", "timeout_response=0", r"timeout_response: .*10ms"),
        ("", "retries=101", r"retries: .*100"),
        ("", "max_body=many", "max_body: .*size"),
        ("", "timeout_respons=1s", "timeout_response"),
        ("max_body = 1k", "max_body=2k", "max_body=2k of the route is never reached"),
        ("mode = tcp", "timeout_response=1s", "only for http mode"),
        ("mode = tcp", "max_body=1k", "only for http mode"),
    ],
)
def test_what_is_refused(more: str, options: str, error: str) -> None:
    with pytest.raises(ConfigErrors, match=error):
        parse_config(TEXT.format(more=more, options=options))


def test_a_smaller_body_than_that_of_the_frontend_is_fine() -> None:
    assert parse_config(TEXT.format(more="max_body = 2k", options="max_body=2k"))


def test_explain_shows_what_the_route_replaces() -> None:
    config = parse_config(TEXT.format(more="max_body = 2k", options="retries=0 max_body=1k"))
    text = explain_http(config, "GET", "http://h/slow/a", ()).as_text()
    assert "limit      retries 0, in place of 2 of the backend" in text
    assert "limit      max_body 1k, in place of 2k of the frontend" in text
    text = explain_http(
        parse_config(TEXT.format(more="", options=ALL)), "GET", "http://h/slow/a", ()
    )
    assert "timeout_server 3s, in place of 1m of the backend" in text.as_text()
    assert "limit  " not in explain_http(config, "GET", "http://h/", ()).as_text()
