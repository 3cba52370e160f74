"""CONTROL. A folder in memory for the processes of one master, in which caches keep responses."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.logger import Logger

__all__ = ["SharedFolder"]

_log = Logger()

_MEMORY: Final = Path("/dev/shm")
_PREFIX: Final = "lbproxy-shared-"
_LOCK: Final = "lock"


class SharedFolder:
    """A folder in memory. ``path`` belongs to this master only.

    The master holds a lock on it, which ends with the process, so that a later master can remove
    the folder of a killed one.
    """

    def __init__(self) -> None:
        root = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        self.path = root / f"{_PREFIX}{os.getuid()}-{os.urandom(8).hex()}"
        self._lock = -1

    def create(self) -> None:
        """Create the folder, and remove those of killed masters.

        A failure is logged; caches then store nothing.
        """
        try:
            self._remove_abandoned()
            self.path.mkdir(mode=0o700)
            self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            _log.warn("cannot create {path}: {error}", path=str(self.path), error=error.strerror)

    def remove(self) -> None:
        """Remove the folder."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def _remove_abandoned(self) -> None:
        for path in self.path.parent.glob(f"{_PREFIX}{os.getuid()}-*"):
            with suppress(OSError):
                lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(lock)
