"""A CORS proxy without keys, in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from lbproxy.testing import LB, LoadBalancerFixture, Response
from lbproxy.testing.origin import Answer, Request

__all__ = ["APP", "TEXT", "Make", "call", "moving", "serve", "started", "words"]

APP = "https://app.example.com"
TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
[frontend cors]
mode = corsproxy
listen = tcp:8090
access_log = log json
{keys}
"""

Make = Callable[..., LoadBalancerFixture]


def started() -> Iterator[Make]:
    """Start a CORS proxy with more keys; api.example.com is 10.1.0.1."""
    made = []

    def start(keys: str = f"origins = {APP}") -> LoadBalancerFixture:
        lb = LB.from_config(TEXT.format(keys=keys))
        made.append(lb)
        lb.reactor.nameResolver.table["api.example.com"] = ["10.1.0.1"]
        lb.reactor.nameResolver.table["other.example.com"] = ["10.1.0.2"]
        return lb

    yield start
    for lb in made:
        lb.close()


def serve(lb: LoadBalancerFixture, handler: Any = b"ok", address: str = "10.1.0.1:80") -> Any:
    return lb.origin(address, address, handler)


def call(
    lb: LoadBalancerFixture,
    url: str = "http://api.example.com/data?x=1",
    method: str = "GET",
    origin: str | None = APP,
    more: str = "",
    **options: Any,
) -> Response:
    """Call the proxy from a page of ``origin``."""
    headers = dict(options.pop("headers", {}))
    if origin is not None:
        headers["Origin"] = origin
    target = f"http://proxy:8090/?url={quote(url, safe='')}{more}"
    return lb.request(method, target, headers=headers, **options)


def words(response: Response) -> str:
    """Return the message of a JSON error."""
    error = json.loads(response.body)["error"]
    assert error["status"] == response.status
    assert error["requestId"]
    return str(error["message"])


def moving(status: int, to: str) -> Callable[[Request], Answer]:
    """An origin that redirects /data, and echoes elsewhere."""

    def handle(request: Request) -> Answer:
        if request.target.startswith("/data"):
            return Answer(status, b"moved", {"Location": to})
        return Answer(200, request.method.encode() + b" " + request.body)

    return handle
