"""CONTROL. The file that keeps the changes of operators over a restart (``[lbproxy] state``).

A new file is written beside the old one and renamed, so that the file is complete even after a
crash. It is written in a thread, so that traffic does not wait for a disk, and shortly after a
change, so that many changes are one write.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.config.changes import Changes

__all__ = ["StateFile", "StateUnreadable", "read_state", "write_whole"]

_log = Logger()

_SOON = 0.2
_LARGEST = 64 * 1024 * 1024


class StateUnreadable(ValueError):
    """The state file cannot be opened, or is not a regular file."""


def read_state(path: str) -> Changes:
    """Return the changes in the file; none if the file does not exist.

    Raises ValueError if the content is invalid, and :class:`StateUnreadable` if it cannot be read
    at all.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # does not wait for a FIFO
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise StateUnreadable("it is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(_LARGEST + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return Changes()
    except OSError as error:
        raise StateUnreadable(error.strerror or str(error)) from None
    if len(data) > _LARGEST:
        raise ValueError("it is too large")
    text = data.decode()
    try:
        return Changes.from_json(json.loads(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_whole(path: str, data: bytes) -> None:
    """Replace the file. At any time it has either the old or the new content. Raises OSError."""
    part = Path(f"{path}.{os.getpid()}.new")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def _write_changes(path: str, changes: Changes) -> None:
    """Write the state file. Raises OSError.

    For a thread: with an indent, json encodes in Python, so that other threads continue meanwhile.
    """
    parts = json.JSONEncoder(indent=1).iterencode(changes.as_json(ordered=True))
    write_whole(path, "".join(parts).encode() + b"\n")


class StateFile(Service):
    """Writes ``changes`` to ``path`` shortly after :meth:`changed`.

    ``error``: why the last write failed, "" if it succeeded.
    """

    name = "state"

    def __init__(self, path: str, reactor: Any) -> None:
        self.path = path
        self.error = ""
        self._usable = True
        self._reactor = reactor
        self._changes: Changes | None = None
        self._call: Any = None
        self._writing = False
        self._again = False

    def load(self) -> Changes:
        """Return the saved changes.

        A file that cannot be parsed is renamed to ``.bad``. A file that cannot be read is not
        changed, and no changes are saved. A folder that is not writable is reported at once, not at
        the first change.
        """
        self._check_folder()
        try:
            return read_state(self.path)
        except StateUnreadable as error:
            self._usable = False
            self.error = str(error)
            _log.error(
                "state {path} cannot be read ({error}); servers are as configured, and changes are "
                "not saved",
                path=self.path,
                error=self.error,
            )
            return Changes()
        except ValueError as error:
            aside = f"{self.path}.bad"
            with suppress(OSError):
                Path(self.path).replace(aside)
            _log.error(
                "state {path} cannot be used ({error}); it was renamed to {aside}, and servers "
                "are as configured",
                path=self.path,
                error=str(error),
                aside=aside,
            )
            return Changes()

    def _check_folder(self) -> None:
        """Set ``error`` if the file could not be written now."""
        folder = Path(self.path).absolute().parent
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            self._failed(OSError(f"folder {folder} does not exist or is not writable"))

    def changed(self, changes: Changes) -> None:
        """Write ``changes`` soon."""
        if not self._usable:
            return
        self._changes = changes
        if self._call is None:
            self._call = self._reactor.callLater(_SOON, self._write)

    def silence(self) -> None:
        """Stop writing, because the file belongs to another process now."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        self._again = False

    def stopService(self) -> None:
        """Write all pending changes now."""
        super().stopService()  # type: ignore[no-untyped-call]
        call, self._call = self._call, None
        pending = call is not None or self._again
        if call is not None:
            call.cancel()
        if pending and self._changes is not None:
            try:
                _write_changes(self.path, self._changes)
            except OSError as error:
                self._failed(error)

    def _write(self) -> None:
        self._call = None
        if self._writing:
            self._again = True
            return
        assert self._changes is not None
        self._writing = True
        pool, changes = self._reactor.getThreadPool(), self._changes.copied()
        done = deferToThreadPool(self._reactor, pool, _write_changes, self.path, changes)
        done.addCallbacks(self._written, self._refused)
        done.addErrback(lambda failure: _log.failure("state", failure))

    def _written(self, _: Any) -> None:
        self.error = ""
        self._over()

    def _refused(self, failure: Failure) -> None:
        self._failed(failure.value)
        self._over()

    def _over(self) -> None:
        self._writing = False
        again, self._again = self._again, False
        if again and self.running:
            self._write()

    def _failed(self, error: BaseException | None) -> None:
        words = getattr(error, "strerror", None) or str(error)
        if words != self.error:
            _log.error("state {path} cannot be written: {error}", path=self.path, error=words)
        self.error = words
