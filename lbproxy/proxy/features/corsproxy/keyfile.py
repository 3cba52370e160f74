"""DATA. The file of API keys, read again when it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from lbproxy.cors.keys import KeyRing
from lbproxy.net.timers import Timer, TimerWheel

__all__ = ["KeyFile"]

_log = Logger()

EVERY_S: Final = 1.0
"""Seconds between checks of the file; ``lbproxy keys`` promises an effect within 2 seconds."""

_Stamp = tuple[int, int, int]


class KeyFile:
    """A file of keys. ``ring``: its keys. An unreadable or invalid file changes nothing, and is
    logged once.

    ``users``: the features that need it. ``looked()`` is called at each check of the file, with the
    current keys. Raises ValueError for a file that is invalid at the start.
    """

    def __init__(self, path: str, looked: Callable[[KeyRing], None] = lambda ring: None) -> None:
        self.path = path
        self.users: set[object] = set()
        self._looked = looked
        self._path = Path(path)
        self._stamp: _Stamp | None = None
        self._timer: Timer | None = None
        try:
            self._stamp = self._look()
            self.ring = KeyRing.read(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(_reason(path, error)) from None

    def current(self) -> KeyRing:
        """Return the current keys."""
        return self.ring

    def start(self, user: object, wheel: TimerWheel) -> None:
        """Check the file periodically from now on. Has no effect if already started."""
        self.users.add(user)
        if self._timer is None:
            self._timer = wheel.timer(self._tick)
            self._timer.set(EVERY_S)
            self._read()

    def close(self, user: object) -> None:
        """Stop checking the file if it has no other users."""
        self.users.discard(user)
        if self._timer is not None and not self.users:
            self._timer.close()
            self._timer = None

    def _look(self) -> _Stamp:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.set(EVERY_S)
        self.look()

    def look(self) -> None:
        """Check the file now."""
        self._read()
        self._looked(self.ring)

    def _read(self) -> None:
        try:
            stamp = self._look()
        except OSError as error:
            self._complain(None, error)
            return
        if stamp == self._stamp:
            return
        try:
            self.ring = KeyRing.read(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self._complain(stamp, error)
        else:
            self._stamp = stamp
            _log.info("{path}: {count} keys", path=str(self._path), count=len(self.ring.records))

    def _complain(self, stamp: _Stamp | None, error: Exception) -> None:
        """Log that the keys stay unchanged, once for each state of the file."""
        if stamp != self._stamp:
            self._stamp = stamp
            text = _reason(str(self._path), error)
            _log.error("keys stay as they are: {text}", text=text)


def _reason(path: str, error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) else str(error)
    hint = "; 'lbproxy keys add' makes it" if isinstance(error, FileNotFoundError) else ""
    return f"{path}: {words}{hint}"
