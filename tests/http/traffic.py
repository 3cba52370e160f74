"""A stand-in for an exchange or a session, with what routes and filters look at."""

from __future__ import annotations

from typing import Any

from attrs import define

from lbproxy.http.message import RequestHead, ResponseHead, header_pairs


def request(
    target: str = "/",
    host: str = "example.com",
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = (),
    **fields: object,
) -> RequestHead:
    """A request head as a codec gives it."""
    lines = header_pairs([("Host", host), *headers])
    raw = target.encode("latin-1")
    return RequestHead(method.encode(), raw, lines, host=host.encode("latin-1"), **fields)  # type: ignore[arg-type]


@define(eq=False)
class Traffic:
    """HTTP or TCP traffic."""

    request: RequestHead | None = None
    response: ResponseHead | None = None
    client_ip: str = "192.0.2.1"
    client_port: int = 4711
    sni: str = ""
    alpn: tuple[str, ...] = ()
    scheme: str = "http"
    frontend_name: str = "web"
    backend_name: str = "app"
    server_name: str = "a"
    request_id: str = "r-1"
    started: float = 0.0
    info: Any = None
    vars: dict[str, Any] | None = None
