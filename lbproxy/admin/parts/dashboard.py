"""CONTROL. The dashboard: a page with its scripts and styles, as stored on disk.

The page contains no data and needs no token. Its data comes from the API, which requires one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from lbproxy.admin.auth import Role
from lbproxy.admin.route import APICall, APIRoute, Part, Raw

__all__ = ["FILES", "PART"]

_FOLDER = Path(__file__).parents[1] / "dashboard"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

FILES = {
    "/": "index.html",
    **{
        f"/dashboard/{Path(name).name}": name
        for name in (
            "dashboard.css",
            "dashboard.js",
            "api.js",
            "history.js",
            "plots.js",
            "show.js",
            "icon.svg",
            "uplot/uPlot.iife.min.js",
            "uplot/uPlot.min.css",
        )
    },
}
"""Path -> file."""


@cache
def _read(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


def _handler(name: str) -> Callable[[APICall], Any]:
    kind = _TYPES[Path(name).suffix]

    def handler(call: APICall) -> Raw:
        return Raw(kind, [_read(name)])

    return handler


PART = Part(
    "dashboard",
    routes=tuple(
        APIRoute(
            "GET",
            path,
            Role.NONE,
            "The dashboard" if path == "/" else f"The dashboard's {Path(name).name}",
            _handler(name),
            produces=_TYPES[Path(name).suffix].partition(";")[0],
        )
        for path, name in FILES.items()
    ),
)
