"""DATA. The counters of the feature ``limits``, and its data about a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from lbproxy.proxy.feature import counted
from lbproxy.proxy.features.limiting.limit import Limit, LimitCheck

__all__ = ["AcceptedConnection", "LimitCounters", "LimitNote", "closes", "paces"]


@define(eq=False)
class LimitCounters:
    """The effects of the limits of a frontend."""

    limit_refused: int = counted("Requests and connections refused by a rate limit.")
    limit_delayed: int = counted(
        "Requests delayed by a rate limit, and traffic paused by one of bytes."
    )
    limit_logged: int = counted("Requests beyond a rate limit with the action log.")


@define
class LimitNote:
    """The limits of one request. ``held``: limits of concurrent use that count it. ``refused``: the
    limit that has refused it. ``request()``: its id, "" for a connection or a session. ``paid``:
    bytes charged while it runs. ``throttle``: of limits of bytes with ``delay``.
    """

    asked: list[LimitCheck]
    held: list[LimitCheck]
    refused: LimitCheck | None = None
    client_ip: str = ""
    request: Callable[[], str] = str
    paid: int = 0
    throttle: Any = None


@define
class AcceptedConnection:
    """A connection, for the key and the conditions of a limit."""

    client_ip: str
    frontend_name: str
    frontend: Any
    request: None = None


def closes(limit: Limit) -> bool:
    """Return whether running traffic beyond a limit of bytes is closed."""
    return limit.spec.unit == "bytes" and limit.spec.action.kind not in ("delay", "log")


def paces(limit: Any) -> bool:
    """Return whether running traffic beyond a limit of bytes is paused.

    ``limit``: the limit, or its section.
    """
    spec = getattr(limit, "spec", limit)
    return bool(spec.unit == "bytes" and spec.action.kind == "delay")
