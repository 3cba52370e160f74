"""CONTROL. Reload when a file changes: looks at the files of the configuration once a second.

Owned by :class:`lbproxy.service.LoadBalancer`; idle unless ``[lbproxy] watch = yes``. A change
counts when it has been the same for two looks: whoever writes several files, or one in parts, is
waited for. The files' times, sizes and inodes are compared, so replacing a file by renaming
another, or a symbolic link's target (as Kubernetes does), is seen.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

__all__ = ["EVERY", "FileWatch"]

_log = Logger()

EVERY = 1.0
"""Seconds between two looks."""

_Stamp = tuple[int, int, int] | None  # of a file that is not there: None


class FileWatch(Service):
    """``reactor``: IReactorTime.

    ``sources``: files and glob patterns, asked before each look; none: nothing to do.

    ``changed`` is called when they have; it may change what ``sources`` gives.
    """

    def __init__(
        self, reactor: Any, sources: Callable[[], Iterable[str]], changed: Callable[[], Any]
    ) -> None:
        self._reactor = reactor
        self._sources = sources
        self._changed = changed
        self._known: dict[str, _Stamp] = {}  # at the last reload
        self._last: dict[str, _Stamp] = {}  # at the last look
        self._call: Any = None

    def startService(self) -> None:
        """Begin: the files are now as they were read."""
        super().startService()
        self._known = self._last = self._look()
        self._call = self._reactor.callLater(EVERY, self._tick)

    def stopService(self) -> None:
        """Stop watching."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _tick(self) -> None:
        self._call = self._reactor.callLater(EVERY, self._tick)
        now = self._look()
        steady, self._last = now == self._last, now
        if not self._known:
            self._known = now  # it was switched on just now
        elif steady and now and now != self._known:
            names = sorted(
                path for path in {*now, *self._known} if now.get(path) != self._known.get(path)
            )
            _log.info("changed: {names}", names=", ".join(names))
            self._changed()
            # what is new among the sources has just been read; of the others a later change must
            # not be missed
            self._known = self._last = {
                path: now.get(path, stamp) for path, stamp in self._look().items()
            }

    def _look(self) -> dict[str, _Stamp]:
        found: dict[str, _Stamp] = {}
        for source in self._sources():
            if any(c in source for c in "*?["):
                found.update((path, _stamp(path)) for path in glob.glob(source))  # noqa: PTH207
                found[source] = None
            else:
                found[source] = _stamp(source)
        return found


def _stamp(path: str) -> _Stamp:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
