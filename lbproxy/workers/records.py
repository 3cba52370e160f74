"""CONTROL. Access records that a worker sends to the master while viewers follow the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from lbproxy.observe.follow import LineMaker
from lbproxy.proxy.frontend import Frontend

__all__ = ["Records"]


class Records:
    """Sends records of followed frontends. ``send`` sends a message to the master."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._lines = LineMaker()
        self._wanted: frozenset[str] = frozenset()
        self._followers: dict[str, Callable[[Any], None]] = {}

    def want(self, names: Iterable[str], frontends: Mapping[str, Frontend]) -> None:
        """Send only the records of these frontends from now on."""
        self._wanted = frozenset(names)
        self.attach(frontends)

    def attach(self, frontends: Mapping[str, Frontend]) -> None:
        """Follow frontends that a reload has created."""
        for name, frontend in frontends.items():
            follower = self._followers.setdefault(name, partial(self._seen, name))
            if name in self._wanted and follower not in frontend.followers:
                frontend.followers = (*frontend.followers, follower)
            elif name not in self._wanted and follower in frontend.followers:
                frontend.followers = tuple(one for one in frontend.followers if one != follower)

    def turn(self) -> None:
        """Start a new second."""
        missed = self._lines.turn()
        if missed:
            self._send({"type": "missed", "records": missed})

    def _seen(self, name: str, record: Any) -> None:
        if name not in self._wanted:
            return  # a connection from before a reload
        line = self._lines.line(record)
        if line is not None:
            fine = self._lines.fine(record)
            self._send({"type": "record", "frontend": name, "line": line, "fine": fine})
