"""CONTROL. Reloads when a file changes: checks the files of the configuration once a second.

:class:`lbproxy.service.LoadBalancer` owns it. It is idle unless ``[lbproxy] watch = yes``. A change
counts when two checks find the same state, so that a program that writes several files, or one file
in parts, can finish. The files' times, sizes and inodes are compared, which also detects a file
replaced by a rename, or a changed target of a symbolic link (as in Kubernetes).
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
"""Seconds between two checks."""

_Stamp = tuple[int, int, int] | None  # None for a file that does not exist


class FileWatch(Service):
    """Watches files. ``reactor``: IReactorTime.

    ``sources`` returns files and glob patterns; it is called before each check. An empty result
    disables the watch.

    ``changed`` is called after a change. It may change the result of ``sources``.
    """

    def __init__(
        self, reactor: Any, sources: Callable[[], Iterable[str]], changed: Callable[[], Any]
    ) -> None:
        self._reactor = reactor
        self._sources = sources
        self._changed = changed
        self._known: dict[str, _Stamp] = {}  # state at the last reload
        self._last: dict[str, _Stamp] = {}  # state at the last check
        self._call: Any = None

    def startService(self) -> None:
        """Start. The present state of the files is that of the loaded configuration."""
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
            self._known = now  # it was enabled just now
        elif steady and now and now != self._known:
            names = sorted(
                path for path in {*now, *self._known} if now.get(path) != self._known.get(path)
            )
            _log.info("changed: {names}", names=", ".join(names))
            self._changed()
            # new sources have just been read; of the others no later change must be missed
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
