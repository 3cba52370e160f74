"""CONTROL. The columns of ``lbproxy top``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen

from lbproxy.cli.tables import bytes_
from lbproxy.observe.recent import Recent, ended, failed

__all__ = ["VIEWS", "Row", "ViewColumn", "rate_text", "seconds_text"]

Row = dict[str, Any]

_LOOKS = {"up": "green", "down": "bold red", "drain": "yellow", "maint": "yellow"}
_SHAPES = {"up": "●", "down": "▼", "drain": "◐", "maint": "■"}


class ColumnSource(Protocol):
    """The interface of the screen to the columns."""

    recent: Recent

    def key(self, row: Row) -> str:
        """Return the name of a row."""


@frozen
class ViewColumn:
    """A column. ``value(view, row)`` is the sort key, ``text(value)`` the shown text."""

    title: str
    value: Callable[[ColumnSource, Row], Any]
    text: Callable[[Any], str] = str
    number: bool = True
    style: Callable[[Any], str] = lambda value: ""


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def rate_text(value: float | None) -> str:
    """Return a number per second as text."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.1f}"


def seconds_text(value: float | None) -> str:
    """Return a duration as text in a suitable unit."""
    if value is None:
        return "-"
    if value < 0.001:
        return f"{value * 1e6:.0f}µs"
    return (
        f"{value * 1e3:.1f}ms"
        if value < 0.01
        else f"{value * 1e3:.0f}ms"
        if value < 1
        else f"{value:.1f}s"
    )


def _text(key: str) -> Callable[[ColumnSource, Row], Any]:
    return lambda view, row: row[key]


def _grows(kind: str, count: Callable[[Row], Any]) -> Callable[[ColumnSource, Row], Any]:
    return lambda view, row: view.recent.rate(kind, view.key(row), count)


def _share(kind: str, field_: str, share: float) -> Callable[[ColumnSource, Row], Any]:
    return lambda view, row: view.recent.quantile(kind, [view.key(row)], field_, share)


def _bad(value: Any) -> str:
    return "red" if value else ""


def _sent_away(row: Row) -> int:
    return int(row["queue_full"] + row["queue_timeouts"] + row["no_server"])


VIEWS: dict[str, tuple[ViewColumn, ...]] = {
    "servers": (
        ViewColumn("server", lambda view, row: view.key(row), number=False),
        ViewColumn("state", _text("state"), lambda word: f"{_SHAPES.get(word, ' ')} {word}", False,
               lambda word: _LOOKS.get(word, "")),
        ViewColumn("weight", _text("weight"), _whole),
        ViewColumn("active", _text("active"), _whole),
        ViewColumn("req/s", _grows("servers", lambda row: row["picked"]), rate_text),
        ViewColumn("requests", _text("picked"), _whole),
        ViewColumn("failed", _text("failed"), _whole, True, _bad),
        ViewColumn("downs", _text("downs"), _whole),
        ViewColumn("out/s", _grows("servers", lambda row: row["bytes_out"]),
            lambda v: "" if v is None else bytes_(v)),
        ViewColumn("address", _text("address"), number=False),
        ViewColumn("last check", _text("note"), number=False),
    ),
    "backends": (
        ViewColumn("backend", _text("name"), number=False),
        ViewColumn("mode", _text("mode"), number=False),
        ViewColumn("up", _text("up"), _whole),
        ViewColumn("of", _text("servers"), _whole),
        ViewColumn("active", _text("active"), _whole),
        ViewColumn("waiting", _text("waiting"), _whole),
        ViewColumn("retries", _text("retries"), _whole),
        ViewColumn("away", lambda view, row: _sent_away(row), _whole, True, _bad),
        ViewColumn("p50", _share("backends", "response_seconds", 0.5), seconds_text),
        ViewColumn("p99", _share("backends", "response_seconds", 0.99), seconds_text),
        ViewColumn("balancer", _text("balance"), number=False),
    ),
    "frontends": (
        ViewColumn("frontend", _text("name"), number=False),
        ViewColumn("mode", _text("mode"), number=False),
        ViewColumn("conns", _text("active_connections"), _whole),
        ViewColumn("req/s", _grows("frontends", ended), rate_text),
        ViewColumn("requests", lambda view, row: ended(row), _whole),
        ViewColumn("failed", lambda view, row: failed(row), _whole, True, _bad),
        ViewColumn("refused", _text("refused"), _whole, True, _bad),
        ViewColumn("p50", _share("frontends", "request_seconds", 0.5), seconds_text),
        ViewColumn("p99", _share("frontends", "request_seconds", 0.99), seconds_text),
        ViewColumn("out/s", _grows("frontends", lambda row: row["bytes_out"]),
            lambda v: "" if v is None else bytes_(v)),
        ViewColumn("listens on", lambda view, row: " ".join(row["listen"]), number=False),
    ),
}  # fmt: skip
