"""CONTROL. Events and bans between the start of a new process and the end of the hand-over in an
upgrade.

The new process gets the known state when it is started. Until it serves traffic, the running
process continues, adds events, and bans clients. It writes both to a file that both processes have
open, and closes a pipe when they are complete. If it dies before, the new process finds an empty
file.
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

    Raises OSError if a file or pipe cannot be created.
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
        """Close the end of the pipe that the new process has inherited."""
        os.close(self.theirs[1])

    def send(self, events: Sequence[Mapping[str, Any]], kept: Sequence[Kept] = ()) -> None:
        """Write events, and messages of features that are kept over a restart.

        An error is ignored: the traffic is handed over without them.
        """
        with suppress(OSError):
            self._file.write(json.dumps({"events": events, "kept": kept}).encode())
            self._file.flush()

    def close(self) -> None:
        """Close the pipe, so that the new process reads the file."""
        self._file.close()
        os.close(self._write)


def read_remainder(file: int, pipe: int) -> tuple[list[dict[str, Any]], list[Kept]] | None:
    """Return the events and the messages of the running process; None until it has closed the pipe.

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
    if isinstance(found, list):  # an older version writes only the events
        return found, []
    return found["events"], found["kept"]
