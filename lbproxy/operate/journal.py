"""CONTROL. The file that keeps bans, edits of lists and other state of features over a restart.

The file is ``STATE.journal``, beside ``[lbproxy] state``. Each line is a topic and a message of
:class:`~lbproxy.sharing.contracts.Replicated`. Messages are appended :data:`SOON` seconds after
their publication, in a thread. When the file has grown to :data:`GROWTH` times its content, it is
rewritten from the state of the features. After an error, writing is retried every :data:`AGAIN`
seconds. A line truncated by a crash is ignored.

A process that takes over from another one writes nothing before :meth:`KeptJournal.own`.

======== ================================================= =====================
part     meaning                                           next
======== ================================================= =====================
NEW      nothing is read, nothing is written               HEIR, KEEPER, SILENT
HEIR     another process writes the file                   KEEPER, SILENT
KEEPER   messages are appended                             SILENT
SILENT   the file is another process's, or cannot be read  -
======== ================================================= =====================
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.operate.statefile import write_whole
from lbproxy.sharing.local import LocalReplicated

__all__ = ["AGAIN", "GROWTH", "SOON", "KeptJournal", "journal_path", "read_journal"]

SOON: Final = 0.2
"""Seconds from a message to its writing. ``kill -9`` loses this much."""

AGAIN: Final = 5.0
"""Seconds from a failure to the next attempt."""

GROWTH: Final = 4
_LEAST: Final = 256 * 1024  # size below which rewriting is not worthwhile, in bytes
_PENDING: Final = 100_000  # maximum number of messages that wait for a slow disk
_LARGEST: Final = 256 * 1024 * 1024
_log = Logger()


def journal_path(state: str) -> str:
    """Return the path of the journal of a state file."""
    return f"{state}.journal"


def read_journal(path: str) -> Iterator[tuple[str, Any]]:
    """Yield topics and messages; nothing without a file. Raises OSError, and ValueError if the file
    is too large.
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
    """Append lines. A preceding line that a crash or a full disk has truncated stays separate."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags, 0o600), "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            data = b"\n" + data
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class _Part(Enum):
    """See the module."""

    NEW = 0
    HEIR = 1
    KEEPER = 2
    SILENT = 3


class KeptJournal(Service):
    """Writes the journal. ``error``: why the last write failed, "" if it succeeded."""

    name = "journal"

    def __init__(self, path: str, reactor: Any, replicated: LocalReplicated) -> None:
        self.path = path
        self.error = ""
        self._reactor = reactor
        self._replicated = replicated
        self._waiting: list[bytes] = []
        self._size = 0  # size of the file
        self._enough = _LEAST  # size at which rewriting is considered
        self._lost = False  # the file lacks messages, so it has to be rewritten
        self._anew: list[bytes] | None = None  # while the new content is collected
        self._call: Any = None
        self._busy = False
        self._job: tuple[Callable[[str, bytes], None], bytes] | None = None
        self._lock = Lock()  # protects the job and the file
        self._part = _Part.NEW

    def restore(self) -> None:
        """Start: publish the messages in the file.

        A file that cannot be read is not changed, and nothing is stored.
        """
        if self._part is not _Part.NEW:
            return
        self._check_folder()
        try:
            for topic, message in read_journal(self.path):
                try:
                    self._replicated.spread(topic, message)
                except Exception:
                    _log.failure(
                        "journal {path}: a message of {topic}", path=self.path, topic=topic
                    )
        except (OSError, ValueError) as error:
            self._part = _Part.SILENT
            self._failed(error)
            return
        self._keep()
        with suppress(OSError):
            self._size = Path(self.path).stat().st_size
        if self._size:
            self._collect()

    def inherit(self) -> None:
        """Take the contents of the file from another process, which writes it until :meth:`own`."""
        if self._part is _Part.NEW:
            self._part = _Part.HEIR
        self._check_folder()

    def own(self) -> None:
        """Write the state of all features, and all later messages."""
        if self._part not in (_Part.NEW, _Part.HEIR):
            return
        self._keep()
        self._lost = True
        self._collect()

    def _keep(self) -> None:
        """Append messages from now on."""
        self._part = _Part.KEEPER
        self._replicated.keep = self._note

    def _check_folder(self) -> None:
        folder = Path(self.path).absolute().parent
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            self._failed(OSError(f"folder {folder} does not exist or is not writable"))

    def silence(self) -> None:
        """Stop writing, because the file belongs to another process now."""
        self._flush_now()
        self._part = _Part.SILENT
        self._replicated.keep = None

    def stopService(self) -> None:
        """Write all pending messages now."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._anew = None  # features that have ended publish no state
        self._flush_now()

    # -- writing --------------------------------------------------------------------------------

    def _note(self, topic: str, message: Any) -> None:
        line = _line(topic, message)
        self._waiting.append(line)
        self._bound()
        if self._anew is not None:
            self._anew.append(line)
        self._later()

    def _bound(self) -> None:
        """Drop the oldest lines if too many wait for the disk. The features still have the
        state.
        """
        if len(self._waiting) > _PENDING:
            self._waiting = []
            self._lost = True

    def _later(self) -> None:
        if self._call is None and self._part is not _Part.SILENT:
            self._call = self._reactor.callLater(AGAIN if self.error else SOON, self._write)

    def _flush_now(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        data, self._waiting = b"".join(self._waiting), []
        if self._part is _Part.SILENT:
            return
        try:
            self._work()
        except OSError as error:
            self._failed(error)
        try:
            with self._lock:
                _append(self.path, data) if data else None
        except OSError as error:
            self._failed(error)

    def _write(self) -> None:
        self._call = None
        if self._busy:
            return
        if self._lost:
            if self._anew is None:
                self._collect()
            return
        if self._waiting:
            self._start(_append, b"".join(self._waiting))
        if self._size > self._enough and self._anew is None:
            self._collect()

    def _start(self, write: Callable[[str, bytes], None], data: bytes) -> None:
        """Write ``data``, which contains all pending lines."""
        self._busy = True
        lines, self._waiting = self._waiting, []
        self._size += len(data)
        self._job = write, data
        done = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._work)
        done.addCallbacks(self._written, self._refused, errbackArgs=(lines,))
        done.addErrback(lambda failure: _log.failure("journal", failure))

    def _work(self) -> None:
        """Run the job of :meth:`_start`, in a thread, or in the reactor's thread at the end."""
        with self._lock:
            job, self._job = self._job, None
            if job is not None:
                write, data = job
                write(self.path, data)

    def _written(self, _: Any) -> None:
        self.error = ""
        self._over()

    def _refused(self, failure: Failure, lines: list[bytes]) -> None:
        self._failed(failure.value)
        self._waiting = lines + self._waiting
        self._bound()
        self._over()

    def _over(self) -> None:
        self._busy = False
        if self._waiting or self._lost:
            self._later()

    # -- writing anew ---------------------------------------------------------------------------

    def _collect(self) -> None:
        """Collect the state of all features, one message per turn, and replace the file with it."""
        self._anew = anew = list[bytes]()
        self._next(anew, self._replicated.everything(), 0)

    def _next(self, anew: list[bytes], left: Iterator[tuple[str, Any]], count: int) -> None:
        if self._anew is not anew or self._part is _Part.SILENT:
            return
        found = next(left, None)
        if found is not None:
            anew.insert(count, _line(*found))  # before messages published in the meantime
            self._reactor.callLater(0, self._next, anew, left, count + 1)
        elif self._busy:
            self._reactor.callLater(SOON, self._next, anew, left, count)
        else:
            self._anew = None
            self._collected(b"".join(anew))

    def _collected(self, data: bytes) -> None:
        self._enough = max(_LEAST, GROWTH * len(data))
        if self._lost or self._size > self._enough or self._size <= _LEAST:
            self._lost = False
            self._size = 0
            self._start(self._replace, data)
        elif self._waiting:
            self._later()

    def _replace(self, path: str, data: bytes) -> None:
        try:
            write_whole(path, data)
        except OSError:
            self._lost = True
            raise

    def _failed(self, error: BaseException | None) -> None:
        words = getattr(error, "strerror", None) or str(error)
        if words != self.error:
            _log.error("journal {path}: {error}", path=self.path, error=words)
        self.error = words


def _line(topic: str, message: Any) -> bytes:
    return json.dumps({"topic": topic, "message": message}).encode() + b"\n"
