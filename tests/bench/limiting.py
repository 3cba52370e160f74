"""What the scenarios of limits and lists tell each proxy.

No client exceeds the limits, and none is in the list, so only their cost is measured.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.proxies import Words

__all__ = ["KEYS", "LIMITED", "listed"]

KEYS = 1_000_000
"""Keys that every table has room for."""

_PREFIXES = 1_000_000

LIMITED = {
    "lbproxy": Words(
        front=["limits = each"],
        sections=["[limit each]", "rate = 1000000/1000s", "key = {query:key}"],
    ),
    "haproxy": Words(
        front=[
            "stick-table type string len 16 size 2m expire 1000s store http_req_rate(1000s)",
            "http-request track-sc0 url_param(key)",
            "http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }",
        ]
    ),
    "nginx": Words(
        front=["limit_req zone=each burst=1000000 nodelay;"],
        sections=["limit_req_zone $arg_key zone=each:256m rate=1000r/s;"],
    ),
}
"""A limit of requests by the ``key`` in the query."""


def listed(folder: Path) -> dict[str, Words]:
    """Return words that refuse a million prefixes; they are written into ``folder``."""
    plain, geo = folder / "prefixes.txt", folder / "prefixes.geo"
    if not plain.exists():
        found = [_prefix(number) for number in range(_PREFIXES)]
        plain.write_text("".join(f"{one}\n" for one in found))
        geo.write_text("".join(f"{one} 1;\n" for one in found))
    return {
        "lbproxy": Words(front=["deny = list:many"], sections=["[list many]", f"file = {plain}"]),
        "haproxy": Words(front=[f"http-request deny if {{ src -f {plain} }}"]),
        "nginx": Words(
            front=["if ($many) { return 403; }"],
            sections=[f"geo $many {{ default 0; include {geo}; }}"],
        ),
    }


def _prefix(number: int) -> str:
    """Return one of the prefixes, which leave gaps between them and out 127.0.0.1."""
    first = (1 << 24) + number * 1024
    return f"{first >> 24}.{first >> 16 & 255}.{first >> 8 & 255}.0/24"
