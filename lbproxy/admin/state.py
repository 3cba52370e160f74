"""CONTROL. The state: one JSON document about everything, shown at once or followed as it changes.

Each :class:`~lbproxy.admin.route.Part` with ``state`` adds an object under its name.  Who follows gets the whole
document first, then a merge patch (RFC 7396) every second; all followers share one look a second, and there
is none while nobody follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.admin.stream import Follower, Stream, event, merge_patch
from lbproxy.admin.view import AdminView
from lbproxy.proxy.ratelog import Quiet

__all__ = ["EVERY", "States"]

_quiet = Quiet(Logger())

EVERY = 1.0
"""Seconds between two looks."""


class States:
    """The state now, and who follows it."""

    def __init__(self, admin: AdminView) -> None:
        self._admin = admin
        self._last: dict[str, Any] = {}
        self._call: Any = None
        self._fresh: list[Follower] = []  # they have got nothing yet, or have missed something
        self._current: list[Follower] = []  # they have ``_last``

    def document(self) -> dict[str, Any]:
        """All of it; ``at`` is Unix time."""
        found: dict[str, Any] = {"at": round(time.time(), 3)}
        for part in self._admin.parts:
            if part.state is not None:
                found[part.name] = part.state(self._admin)
        return found

    def stream(self) -> Stream:
        """For one who follows: ``state`` events with the whole, ``patch`` events with changes."""

        def begin(follower: Follower) -> Callable[[], None]:
            self._fresh.append(follower)
            if self._call is None:
                self._look()
            else:
                self._bring(self._last)
            return lambda: self._leave(follower)

        return Stream(begin)

    def _leave(self, follower: Follower) -> None:
        for followers in (self._fresh, self._current):
            if follower in followers:
                followers.remove(follower)
        if not self._fresh and not self._current and self._call is not None:
            self._call.cancel()
            self._call = None
            self._last = {}

    def _look(self) -> None:
        self._call = self._admin.reactor.callLater(EVERY, self._look)
        try:
            new = self.document()
        except Exception:
            _quiet.failure("admin state", "admin: the state cannot be shown", Failure())
            return
        patch = merge_patch(self._last, new)
        self._last = new
        data = event("patch", patch)
        for follower in list(self._current):
            if not follower.replace(data):
                self._current.remove(follower)  # it gets the whole when it takes something again
                self._fresh.append(follower)
        self._bring(new)

    def _bring(self, document: dict[str, Any]) -> None:
        data = b""
        for follower in list(self._fresh):
            data = data or event("state", document)
            if follower.replace(data):
                self._fresh.remove(follower)
                self._current.append(follower)
