"""CONTROL. Events and bans between the start of a new process and the hand-over of an upgrade.

The new process gets what is known when it is started. Until it serves, the running process goes on,
adds events, and bans clients. It writes both to a file that both have open, and closes a pipe when
they are complete. If it dies before, the new process finds an empty file.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

__all__ = ["Kept", "Remainder", "read_remainder"]

Kept = tuple[str, Any]
"""Topic and message of :class:`~lbproxy.sharing.contracts.Replicated`."""


class Remainder:
    """The side of the running process. ``theirs``: descriptors that the new process inherits.

    OSError if a file or pipe cannot be made.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            read, self._write = os.pipe()
        except OSError:
            self._file.close()
            raise
        self.theirs = (self._file.fileno(), read)

    def started(self) -> None:
        """Close the end of the pipe that the new process has inherited by now."""
        os.close(self.theirs[1])

    def send(self, events: Sequence[Mapping[str, Any]], kept: Sequence[Kept] = ()) -> None:
        """Write events, and messages of features that are kept over a restart.

        An error is ignored: the traffic is handed over without them.
        """
        with suppress(OSError):
            self._file.write(json.dumps({"events": events, "kept": kept}).encode())
            self._file.flush()

    def close(self) -> None:
        """Let the new process read."""
        self._file.close()
        os.close(self._write)


def read_remainder(file: int, pipe: int) -> tuple[list[dict[str, Any]], list[Kept]] | None:
    """Return the events and the messages of the running process, None as long as it has not closed
    the pipe.

    Closes both descriptors at the end.
    """
    os.set_blocking(pipe, False)
    try:
        os.read(pipe, 1)
    except BlockingIOError:
        return None
    os.close(pipe)
    with os.fdopen(file, "rb") as whole:
        whole.seek(0)
        try:
            found = json.load(whole)
        except ValueError:
            return [], []
    if isinstance(found, list):  # an older version writes the events alone
        return found, []
    return found["events"], found["kept"]
