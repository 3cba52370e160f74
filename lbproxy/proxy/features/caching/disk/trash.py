"""DATA. Removes unused files of a folder, in threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from lbproxy.proxy.features.caching.disk.files import FolderFiles
from lbproxy.proxy.features.caching.jobs import Jobs

__all__ = ["Names", "Trash"]

Names = list[tuple[int, str]]
"""Names and kinds of files."""

_AGE: Final = 600.0
"""Age in seconds at which a file that the journal does not name is abandoned."""

_AT_ONCE: Final = 1000
"""Maximum number of files that one job removes."""

_FOLDERS: Final = 256


class Trash:
    """Removes files, one job at a time."""

    def __init__(self, files: FolderFiles, jobs: Jobs) -> None:
        self._files = files
        self._jobs = jobs
        self._names: Names = []
        self._busy = False

    def add(self, names: Names) -> None:
        """Remove files soon."""
        self._names += names
        self._next()

    def _next(self) -> None:
        if self._busy or not self._names:
            return
        self._busy = True
        names = self._names[-_AT_ONCE:]
        del self._names[-_AT_ONCE:]

        def remove() -> None:
            for name, kind in names:
                self._files.remove(name, kind)

        def removed(_: object) -> None:
            self._busy = False
            self._next()

        self._jobs.run(remove, removed)

    def sweep(self, unknown: Callable[[Names], Names | None], part: int = 0) -> None:
        """Remove abandoned files, one sub-folder after another.

        ``unknown(names)`` returns the names without those in use; None ends the sweep.
        """
        text = f"{part:02x}"
        before = time.time() - _AGE

        def look() -> Names:
            return self._files.names(text)

        def found(result: Names | Exception) -> None:
            names = None if isinstance(result, Exception) else unknown(result)
            if names is not None:
                self._jobs.run(lambda: self._remove_abandoned(names, before), more)

        def more(_: object) -> None:
            if part + 1 < _FOLDERS:
                self.sweep(unknown, part + 1)

        self._jobs.run(look, found)

    def _remove_abandoned(self, names: Names, before: float) -> None:
        for name, kind in names:
            if self._files.abandoned(name, kind, before if kind != "t" else time.time() + 1):
                self._files.remove(name, kind)
