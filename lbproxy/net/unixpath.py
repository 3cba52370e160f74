"""DATA. The files of Unix sockets: removal of stale ones, owners and permissions."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

__all__ = ["MAX_UNIX_PATH", "file_mode", "remove_stale_socket"]

MAX_UNIX_PATH = 107  # sizeof sun_path, less the NUL


def remove_stale_socket(path: str) -> None:
    """Delete a Unix socket file that a dead process left. Raises OSError (EADDRINUSE) for one that
    is in use, or for another kind of file.
    """
    if path.startswith(("\0", "@")):
        return
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return  # no such file, or bind reports the error
    if is_socket:
        # A datagram socket cannot connect to a stream listener. A live listener answers EPROTOTYPE
        # and gets no connection that it would have to count; a file without a listener answers
        # ECONNREFUSED.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                Path(path).unlink()
                return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def file_mode(path: str) -> int:
    """Return the current permissions of a Unix socket's file; 0 if the file does not exist."""
    try:
        return stat.S_IMODE(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return 0
