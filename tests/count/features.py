"""What the switched-on rows add to a frontend or backend, in the words of each proxy."""

from __future__ import annotations

from pathlib import Path

from tests.bench import caching
from tests.bench.proxies import Words

__all__ = [
    "CACHE",
    "CACHE_DISK",
    "CACHE_DISK_SMALL",
    "CACHE_ELSEWHERE",
    "CACHE_FULL",
    "COMBINED",
    "COOKIES",
    "CUSTOM",
    "HASH",
    "HEADERS",
    "LIMIT",
    "LIMIT_FULL",
    "REWRITE",
    "STICKY",
]

# some of these the browser sends, with other values; the others it does not
_HEADERS = (
    "User-Agent",
    "Accept",
    "Accept-Language",
    "Referer",
    "Sec-Fetch-Dest",
    "X-Canary",
    "X-Region",
    "X-Tenant",
    "Authorization",
    "X-Debug",
)
_COOKIES = (
    "session",
    "theme",
    "seen",
    "_ga",
    "beta",
    "canary",
    "region",
    "tenant",
    "debug",
    "consent",
)

HEADERS = {
    "lbproxy": Words(routes=[f"header {name} pick-me -> app" for name in _HEADERS]),
    "haproxy": Words(
        routes=[f"use_backend app if {{ req.hdr({name}) -m str pick-me }}" for name in _HEADERS]
    ),
    "nginx": Words(
        front=[
            f"if ($http_{name.lower().replace('-', '_')} = pick-me) {{ return 404; }}"
            for name in _HEADERS
        ]
    ),
}
"""Ten conditions on header values; none holds."""

COOKIES = {
    "lbproxy": Words(routes=[f"cookie {name} pick-me -> app" for name in _COOKIES]),
    "haproxy": Words(
        routes=[f"use_backend app if {{ req.cook({name}) -m str pick-me }}" for name in _COOKIES]
    ),
    "nginx": Words(front=[f"if ($cookie_{name} = pick-me) {{ return 404; }}" for name in _COOKIES]),
}
"""Ten conditions on cookies; none holds."""

STICKY = {
    "lbproxy": Words(back=["sticky = cookie LB"]),
    "haproxy": Words(back=["cookie LB insert indirect nocache"], server=" cookie s{n}"),
}
"""The cookie ``LB`` names the server; the free nginx has nothing like it."""

REWRITE = {
    "lbproxy": Words(
        front=[
            "filters =",
            "    set-header request X-Client {client_ip}",
            "    set-header response X-Served-By lbproxy",
            "    rewrite /assets/* /static/*",
        ]
    ),
    "haproxy": Words(
        front=[
            "http-request set-header X-Client %[src]",
            "http-response set-header X-Served-By haproxy",
            r"http-request replace-path /assets/(.*) /static/\1",
        ]
    ),
    "nginx": Words(
        front=[
            'proxy_set_header Connection "";',
            "proxy_set_header Host $http_host;",
            "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            "proxy_set_header X-Forwarded-Proto $scheme;",
            "proxy_set_header X-Forwarded-Host $http_host;",
            "proxy_set_header X-Client $remote_addr;",
            "add_header X-Served-By nginx;",
            "rewrite ^/assets/(.*)$ /static/$1 break;",
        ]
    ),
}
"""A header set in each direction, and ``/assets/...`` becomes ``/static/...``."""

HASH = {
    "lbproxy": Words(balance="hash uri"),
    "haproxy": Words(balance="uri whole\n    hash-type consistent"),
    "nginx": Words(balance="hash $request_uri consistent"),
}
"""Consistent hashing of the request target."""

COMBINED = {"lbproxy": Words(front=["access_log = access.log combined"])}
"""The access log in the combined format, in place of JSON."""

CUSTOM = {
    "lbproxy": Words(
        front=[
            'access_log = access.log "%{time} %{client_ip}:%{client_port} %{frontend} %{backend}/'
            "%{server} %{header_ms}/%{queue_ms}/%{connect_ms}/%{response_ms}/%{total_ms} %{status} "
            "%{bytes_out} %{close} '%{request_line}' %{host} '%{request.If-None-Match}' "
            "'%{response.ETag}'\""
        ]
    )
}
"""The access log in a format of one's own with about the fields of HAProxy's."""

CACHE = caching.MEMORY
"""A cache; lbproxy's is in memory, and nginx's in files that it keeps open."""

CACHE_DISK = caching.disk("4m")
"""A cache in files, with memory for few of the bodies."""

CACHE_DISK_SMALL = caching.disk("1m")
"""The same with memory for few of the heads."""

CACHE_FULL = {
    "lbproxy": Words(
        front=["cache = main"],
        sections=[
            *("[cache main]", "memory = 16g"),
            *("[frontend filled]", "listen = unix:filled.sock", "backend = app"),
            f"filters = {Path(__file__).with_name('filled.py')}:Filled",
        ],
    )
}
"""The same cache with many other responses in it."""

LIMIT = {
    "lbproxy": Words(front=["limits = one"], sections=["[limit one]", "rate = 1000000/1s"]),
    "haproxy": Words(
        front=[
            "stick-table type ip size 1m expire 10s store http_req_rate(10s)",
            "http-request track-sc0 src",
            "http-request deny deny_status 429 if { sc_http_req_rate(0) gt 9000000 }",
        ]
    ),
    "nginx": Words(
        front=["limit_req zone=one burst=100000 nodelay;"],
        sections=["limit_req_zone $binary_remote_addr zone=one:64m rate=1000000r/s;"],
    ),
}
"""A limit of requests by address, which no client exceeds."""

LIMIT_FULL = {
    "lbproxy": Words(
        front=LIMIT["lbproxy"].front,
        sections=[
            *LIMIT["lbproxy"].sections,
            *("[frontend filled]", "listen = unix:filled.sock", "backend = app"),
            f"filters = {Path(__file__).with_name('filledcells.py')}:FilledCells",
        ],
    )
}
"""The same limit in a table with a million other keys."""

CACHE_ELSEWHERE = {
    "lbproxy": Words(
        sections=[
            *("[cache main]", "memory = 64m"),
            *("[frontend cached]", "listen = unix:cached.sock", "backend = app", "cache = main"),
        ]
    )
}
"""A cache that only another frontend uses."""
