"""A whole load balancer in memory: what it writes to both sides, and the lines of its logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from lbproxy.testing import LB
from lbproxy.testing.origin import TCPOrigin

__all__ = ["CONFIGURATIONS", "talk"]

LOGS = ("one", "two", "three")

_REQUEST_ID = re.compile(rb"[0-9a-f]{32}")  # random

_LOGS = """
    [lbproxy]
    secret = 0123456789abcdef0123456789abcdef
    access_log = one json
    more_logs =
        two combined
        three "%{time} %{request.cookie} %{response.etag} %{server} %{total_ms} %{close}"
"""

CONFIGURATIONS = (
    _LOGS
    + """
    [frontend web]
    listen = tcp:8080
    backend = app
    [backend app]
    servers = a 10.0.0.1:80
""",
    _LOGS
    + """
    [frontend web]
    listen = tcp:8080
    trusted_proxies = 203.0.113.0/24
    forwarded = rfc7239
    filters =
        set-header request X-Client {client_ip}
        set-header response X-Served-By lbproxy
        rewrite /assets/* /static/*
    routes =
        header X pick-me      -> app
        cookie a b            -> app
        path /redirect/*      -> redirect 302 /elsewhere
        host b.example        -> reply 404
        default               -> app
    [backend app]
    balance = hash uri
    sticky = cookie LB
    servers =
        a 10.0.0.1:80
        b 10.0.0.1:80
""",
)


@cache
def _balancer(configuration: int) -> tuple[LB, TCPOrigin]:
    lb = LB.from_config(CONFIGURATIONS[configuration])
    return lb, lb.tcp_origin("origin", "10.0.0.1:80")


def talk(configuration: int, asked: Sequence[bytes], answered: Sequence[bytes]) -> Any:
    """Send the pieces ``asked`` by a new client, and ``answered`` by each server that was asked.

    Returns what the servers and the client received, whether the client was cut off, and the new
    lines of the logs.
    """
    lb, origin = _balancer(configuration)
    before = {path: len(lb.log_lines(path)) for path in LOGS}
    client = lb.connect("web")
    for part in asked:
        if not client.closed:
            client.send(part)
    to_servers: list[bytes] = []
    for connection in list(origin.connections):
        if connection.received and not connection.closed:
            for part in answered:
                if not connection.closed:
                    connection.send(part)
            connection.transport.loseConnection()  # type: ignore[union-attr]
    lb.advance(0.25)
    for connection in origin.connections:
        to_servers.append(connection.received)
    origin.connections.clear()
    cut = client.closed
    if not client.closed:
        client.abort()
    lb.advance(40.0)  # longer than a request may take
    lines = ["\n".join(lb.log_lines(path)[before[path] :]) for path in LOGS]
    received = _REQUEST_ID.sub(b"ID", client.received)
    return to_servers, received, cut, [_REQUEST_ID.sub(b"ID", text.encode()) for text in lines]
