"""The lines of ``explain`` about challenge and shedding."""

from __future__ import annotations

import pytest

from lbproxy.decide.explain import explain_http
from lbproxy.registry import parse_config

TEXT = """
[frontend web]
listen = tcp:80
{keys}
routes =
    path /free -> app challenge=off shed=no
    path /old -> redirect 301 /new
    path /shut -> app challenge=on
    default -> app
[backend app]
servers = a 10.0.0.1:80
"""
ON = "challenge = on\nchallenge_except = path /api/*"
BOT = ((b"user-agent", b"Googlebot/2.1"),)
HTML = ((b"accept", b"text/html"),)


@pytest.mark.parametrize(
    ("keys", "path", "headers", "line"),
    [
        (ON, "/", HTML, "challenge on: 403 with a page unless it has a pass"),
        (ON, "/", (), "challenge on: 403 with a text unless it has a pass"),
        (ON, "/api/x", (), "challenge on: not here (challenge_except)"),
        (ON, "/free", (), "challenge off: the route is exempt"),
        (ON, "/old", (), "challenge on: not here, lbproxy answers itself"),
        (ON, "/", BOT, "challenge on: passes if DNS confirms that it is a crawler of Google"),
        (
            "challenge = alert",
            "/",
            HTML,
            "challenge alert: while the alert attack fires, 403 with a page unless it has a pass",
        ),
        ("", "/shut", HTML, "challenge on: 403 with a page unless it has a pass"),
        ("", "/", HTML, None),
        ("shed = lag 50ms", "/", (), "shed lag 50ms: beyond it a share of such requests gets 503"),
        ("shed = lag 50ms", "/free", (), "shed lag 50ms: not here (shed=no)"),
        ("shed = lag 50ms", "/old", (), "shed lag 50ms: not here, lbproxy answers itself"),
    ],
)
def test_challenge_and_shedding(
    keys: str, path: str, headers: tuple[tuple[bytes, bytes], ...], line: str | None
) -> None:
    config = parse_config(TEXT.format(keys=keys))
    found = explain_http(config, "GET", f"http://h{path}", list(headers)).protections
    known = [one for one in found if one.startswith(("challenge", "shed"))]
    wanted = [line] if line is not None else []
    assert [one for one in known if one != "challenge off: the route is exempt"] == [
        one for one in wanted if one != "challenge off: the route is exempt"
    ]
    assert line is None or line in found
