"""PURE. The Cache-Status field (RFC 9211): the result of the cache, and its reason."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = ["cache_status"]

_TOKEN: Final = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")


def cache_status(
    name: str,
    *,
    hit: bool = False,
    fwd: str = "",
    status: int | None = None,
    ttl: float | None = None,
    stored: bool | None = None,
    collapsed: bool = False,
    detail: str = "",
) -> bytes:
    """Return a member for Cache-Status.

    ``name`` of the cache. ``hit``: answered from the store. ``fwd``: why the request went to the
    server (``uri-miss``, ``vary-miss``, ``stale``, ``request``, ``method``, ``bypass``, ...), with
    the ``status`` of its response. ``ttl``: remaining freshness in seconds, negative if stale.
    ``stored``: whether the response was stored. ``detail``: for people.
    """
    parts = [_identifier(name)]
    if hit:
        parts.append("hit")
    if fwd:
        parts.append(f"fwd={fwd}")
    if status is not None:
        parts.append(f"fwd-status={status}")
    if ttl is not None:
        parts.append(f"ttl={int(ttl // 1)}")
    if stored:
        parts.append("stored")
    if collapsed:
        parts.append("collapsed")
    if detail:
        parts.append(f"detail={_quoted(detail)}")
    return "; ".join(parts).encode("ascii")


@lru_cache(maxsize=64)
def _identifier(name: str) -> str:
    return name if _TOKEN.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    words = text.replace("§", "section ")
    plain = "".join(char if " " <= char <= "~" else "?" for char in words)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
