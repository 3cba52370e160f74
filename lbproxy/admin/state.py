"""CONTROL. The state: one JSON document of everything, returned at once or as a stream of changes.

Each :class:`~lbproxy.admin.route.Part` with ``state`` adds an object under its name. A follower
gets the whole document first, then a merge patch (RFC 7396) every second. All followers share one
document a second, and none is created without followers. The document of many servers is created
over several turns of the reactor.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.admin.stream import AdminStream, Follower, event, merge_patch
from lbproxy.admin.view import AdminView
from lbproxy.proxy.ratelog import Quiet

__all__ = ["EVERY", "SLICE", "States"]

_quiet = Quiet(Logger())

EVERY = 1.0
"""Seconds between two documents."""

SLICE = 100
"""Members of a large object that are created in one turn of the reactor."""


class States:
    """The present state, and the clients that follow it."""

    def __init__(self, admin: AdminView) -> None:
        self._admin = admin
        self._last: dict[str, Any] = {}
        self._call: Any = None  # call that creates the next document
        self._turn: Any = None  # call for the next slice of the present document
        self._fresh: list[Follower] = []  # have received nothing yet, or have missed a patch
        self._current: list[Follower] = []  # have received ``_last``

    def document(self) -> dict[str, Any]:
        """Return the complete document at once. ``at`` is Unix time."""
        found: dict[str, Any] = {}
        for _ in self._build(found):
            pass
        return found

    def slices(self) -> Iterator[bytes]:
        """Yield the JSON text of the document in slices. Only large objects are created in
        parts.
        """
        return self._texts(list(self._parts()))

    def _texts(self, parts: list[tuple[str, Any]]) -> Iterator[bytes]:
        yield b'{"at":' + _text(self._at())
        for name, value in parts:
            head = b"," + _text(name) + b":"
            if not isinstance(value, Iterator):
                yield head + _text(value)
                continue
            head += b"{"
            while some := dict(islice(value, SLICE)):
                yield head + _text(some)[1:-1]
                head = b","
            yield b"}" if head == b"," else head + b"}"
        yield b"}\n"

    def _parts(self) -> Iterator[tuple[str, Any]]:
        for part in self._admin.parts:
            if part.state is not None:
                yield part.name, part.state(self._admin)

    def _build(self, found: dict[str, Any]) -> Iterator[None]:
        """Add all parts to ``found``. Yields between two slices of the work."""
        found["at"] = self._at()
        for name, value in self._parts():
            if not isinstance(value, Iterator):
                found[name] = value
                continue
            members = found[name] = {}
            while some := dict(islice(value, SLICE)):
                members.update(some)
                if len(some) == SLICE:
                    yield

    @staticmethod
    def _at() -> float:
        return round(time.time(), 3)

    # -- followers ------------------------------------------------------------------------------

    def stream(self) -> AdminStream:
        """Return the stream of the state: a ``state`` event with the complete document, then
        ``patch`` events.
        """

        def begin(follower: Follower) -> Callable[[], None]:
            self._fresh.append(follower)
            if self._call is None:
                self._look()
            elif self._last:
                self._bring(self._last)
            return lambda: self._leave(follower)

        return AdminStream(begin)

    def _leave(self, follower: Follower) -> None:
        for followers in (self._fresh, self._current):
            if follower in followers:
                followers.remove(follower)
        if not self._fresh and not self._current:
            for call in (self._call, self._turn):
                if call is not None:
                    call.cancel()
            self._call = self._turn = None
            self._last = {}

    def _look(self) -> None:
        self._call = self._admin.reactor.callLater(EVERY, self._look)
        if self._turn is None:  # otherwise the last document is not complete yet
            found: dict[str, Any] = {}
            self._slice(found, self._build(found))

    def _slice(self, found: dict[str, Any], building: Iterator[None]) -> None:
        """Create one slice; publish the document after the last one."""
        self._turn = None
        try:
            for _ in building:
                self._turn = self._admin.reactor.callLater(0, self._slice, found, building)
                return
        except BaseException:
            _quiet.failure("admin state", "admin: creating the state failed", Failure())
            return
        self._publish(found)

    def _publish(self, new: dict[str, Any]) -> None:
        patch = merge_patch(self._last, new)
        self._last = new
        data = event("patch", patch)
        for follower in list(self._current):
            if not follower.replace(data):
                self._current.remove(follower)  # gets the complete document when it reads again
                self._fresh.append(follower)
        self._bring(new)

    def _bring(self, document: dict[str, Any]) -> None:
        data = b""
        for follower in list(self._fresh):
            data = data or event("state", document)
            if follower.replace(data):
                self._fresh.remove(follower)
                self._current.append(follower)


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
