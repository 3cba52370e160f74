"""A CORS proxy with one API key, in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.testing import LB, LoadBalancerFixture, Response

__all__ = ["APP", "KEY", "KeyedCors", "call"]

APP = "https://app.example.com"
KEY = "S3CRET-KEY"
TEXT = """
[lbproxy]
guard_public = 10.1.0.0/24
{sections}
[frontend cors]
mode = corsproxy
listen = tcp:8090
access_log = log json
keys = {path}
{more}
"""


class KeyedCors:
    """Starts proxies that share the file of keys at ``path``.

    api.example.com is 10.1.0.1, other.example.com is 10.1.0.2.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[LoadBalancerFixture] = []

    def text(self, more: str = "", sections: str = "") -> str:
        """Return the configuration."""
        return TEXT.format(path=self.path, more=more, sections=sections)

    def write(self, *records: KeyRecord) -> None:
        """Replace the keys."""
        self.path.write_text(KeyRing(records).dump())

    def start(self, more: str = "", sections: str = "", **record: Any) -> LoadBalancerFixture:
        """Start a proxy whose key ``KEY`` has the rules of ``record``."""
        self.write(KeyRecord("app", hashed(KEY), **record))
        lb = LB.from_config(self.text(more, sections))
        self._made.append(lb)
        lb.reactor.resolver.table["api.example.com"] = ["10.1.0.1"]
        lb.reactor.resolver.table["other.example.com"] = ["10.1.0.2"]
        return lb

    def close(self) -> None:
        """Stop all proxies."""
        for lb in self._made:
            lb.close()


def call(
    lb: LoadBalancerFixture,
    url: str = "http://api.example.com/v1/x",
    more: str = "",
    method: str = "GET",
    body: bytes = b"",
    **headers: str,
) -> Response:
    """Call the proxy; ``more``: further parameters; underscores in names stand for hyphens."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    target = f"http://proxy:8090/?url={quote(url, safe='')}{more}"
    return lb.request(method, target, headers=sent, body=body)
