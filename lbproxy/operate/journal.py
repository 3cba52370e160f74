"""CONTROL. The file that keeps bans, edits of lists and what else features share over a restart.

It lies beside ``[lbproxy] state``, as ``STATE.journal``.  Each line is a topic and a message of
:class:`~lbproxy.sharing.contracts.Replicated`.  Messages are appended :data:`SOON` seconds after
they were published, in a thread.  When the file has grown to :data:`GROWTH` times what it says, it
is written anew from what the features know.  A line that a crash has cut off is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.operate.statefile import write_whole
from lbproxy.sharing.local import LocalReplicated

__all__ = ["GROWTH", "SOON", "KeptJournal", "journal_path", "read_journal"]

SOON: Final = 0.2
"""Seconds from a message to its writing: that much ``kill -9`` loses."""

GROWTH: Final = 4
_LEAST: Final = 1000  # lines that are not worth writing anew
_LARGEST: Final = 256 * 1024 * 1024
_log = Logger()


def journal_path(state: str) -> str:
    """Return the path of the journal of a state file."""
    return f"{state}.journal"


def read_journal(path: str) -> Iterator[tuple[str, Any]]:
    """Yield topics and messages; none if there is no file.  OSError, ValueError if it is too
    large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise ValueError("it is too large")
        for line in file:
            try:
                found = json.loads(line)
                topic, message = found["topic"], found["message"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(topic, str):
                yield topic, message


def _append(path: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class KeptJournal(Service):
    """``error``: why it could not be written the last time, "" if it could."""

    name = "journal"

    def __init__(self, path: str, reactor: Any, replicated: LocalReplicated) -> None:
        self.path = path
        self.error = ""
        self._reactor = reactor
        self._replicated = replicated
        self._waiting: list[bytes] = []
        self._lines = 0  # of the file
        self._anew: list[bytes] | None = None  # while the file is collected anew
        self._call: Any = None
        self._busy = False
        self._silent = False
        self._begun = False

    def restore(self, *, read: bool = True) -> None:
        """Begin: publish what the file says, unless another process has told it (``read``)."""
        if self._begun:
            return
        self._begun = True
        self._check_folder()
        try:
            for topic, message in read_journal(self.path) if read else ():
                self._lines += 1
                try:
                    self._replicated.publish(topic, message)
                except Exception:
                    _log.failure(
                        "journal {path}: a message of {topic}", path=self.path, topic=topic
                    )
        except (OSError, ValueError) as error:
            self._failed(error)
        self._replicated.keep = self._note
        if self._lines or not read:
            self._collect()

    def _check_folder(self) -> None:
        folder = Path(self.path).absolute().parent
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            self._failed(OSError(f"folder {folder} does not exist or is not writable"))

    def silence(self) -> None:
        """Write no more: the file is another process's now."""
        self._flush_now()
        self._silent = True
        self._replicated.keep = None

    def stopService(self) -> None:
        """Write what is not written yet, now."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._flush_now()

    # -- writing --------------------------------------------------------------------------------

    def _note(self, topic: str, message: Any) -> None:
        line = _line(topic, message)
        self._waiting.append(line)
        if self._anew is not None:
            self._anew.append(line)
        self._later()

    def _later(self) -> None:
        if self._call is None and not self._silent:
            self._call = self._reactor.callLater(SOON, self._write)

    def _flush_now(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        data, self._waiting = b"".join(self._waiting), []
        if data and not self._silent:
            try:
                _append(self.path, data)
            except OSError as error:
                self._failed(error)

    def _write(self) -> None:
        self._call = None
        if self._busy or not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        self._lines += len(lines)
        self._start(_append, b"".join(lines))
        if self._lines > _LEAST and self._anew is None:
            self._collect()

    def _start(self, write: Any, data: bytes) -> None:
        self._busy = True
        pool = self._reactor.getThreadPool()
        done = deferToThreadPool(self._reactor, pool, write, self.path, data)
        done.addCallbacks(self._written, self._refused)
        done.addErrback(lambda failure: _log.failure("journal", failure))

    def _written(self, _: Any) -> None:
        self.error = ""
        self._over()

    def _refused(self, failure: Failure) -> None:
        self._failed(failure.value)
        self._over()

    def _over(self) -> None:
        self._busy = False
        if self._waiting:
            self._later()

    # -- writing anew ---------------------------------------------------------------------------

    def _collect(self) -> None:
        """Collect what all features know, a message a turn, and replace the file by it."""
        self._anew = []
        self._next(self._replicated.everything(), 0)

    def _next(self, left: Iterator[tuple[str, Any]], count: int) -> None:
        anew = self._anew
        if anew is None or self._silent:
            return
        found = next(left, None)
        if found is not None:
            anew.insert(count, _line(*found))  # before what was published meanwhile
            self._reactor.callLater(0, self._next, left, count + 1)
        elif self._busy:
            self._reactor.callLater(SOON, self._next, left, count)
        elif self._lines > GROWTH * len(anew) or self._lines <= _LEAST:
            self._anew = None
            self._waiting = []  # it is in ``anew``
            self._lines = len(anew)
            self._start(write_whole, b"".join(anew))
        else:
            self._anew = None

    def _failed(self, error: BaseException | None) -> None:
        words = getattr(error, "strerror", None) or str(error)
        if words != self.error:
            _log.error("journal {path}: {error}", path=self.path, error=words)
        self.error = words


def _line(topic: str, message: Any) -> bytes:
    return json.dumps({"topic": topic, "message": message}).encode() + b"\n"
