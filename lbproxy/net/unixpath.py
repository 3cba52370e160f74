"""DATA. The files of Unix sockets: those of dead processes, owners and permissions."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

__all__ = ["MAX_UNIX_PATH", "file_mode", "remove_stale_socket"]

MAX_UNIX_PATH = 107  # sizeof sun_path, less the NUL


def remove_stale_socket(path: str) -> None:
    """Delete a Unix socket file that a dead process left; one that is in use, or another kind of
    file, is an OSError (EADDRINUSE)."""
    if path.startswith(("\0", "@")):
        return
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return  # nothing there; or bind will say what is wrong
    if is_socket:
        # A datagram socket cannot connect to a stream listener: a live one says EPROTOTYPE and does
        # not get a connection that it would have to count; one nobody has open, ECONNREFUSED.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                Path(path).unlink()
                return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def file_mode(path: str) -> int:
    """Permissions of a Unix socket's file as they are now; 0 if it has no file."""
    try:
        return stat.S_IMODE(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return 0
