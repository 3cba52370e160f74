"""CONTROL. Start as root with ``twistd --uid``: checks in advance what the other user needs.

Root opens listeners and reads keys. Log files and the state file are opened after privileges are
dropped, when a failure would only be a line in a log.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lbproxy.generation.accesslogs import logs_of
from lbproxy.model import Config

__all__ = ["acting_as", "log_files", "obstacles", "prepare_logs"]


def log_files(config: Config) -> list[str]:
    """Return the paths of the access logs that are files."""
    found = {log.path for frontend in config.frontends for log in logs_of(frontend, config)}
    return sorted(path for path in found if path != "stdout" and not path.startswith("syslog:"))


def prepare_logs(files: Collection[str], uid: int, gid: int) -> None:
    """Create missing log files for the user ``uid``. Existing files are unchanged.

    :func:`obstacles` reports failures.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for path in files:
        with suppress(OSError):
            descriptor = os.open(path, flags, 0o640)
            try:
                os.fchown(descriptor, uid, gid)
            finally:
                os.close(descriptor)


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Switch to the privileges of another user inside the block. Only root can. Raises OSError."""
    groups = os.getgroups()
    try:
        os.initgroups(pwd.getpwuid(uid).pw_name, gid)
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def obstacles(
    config: Config, trouble: Callable[[str], str], pidfile: str = ""
) -> tuple[list[str], list[str]]:
    """Return the operations that would fail for the present user: (errors, warnings), one line
    each.

    ``trouble(path)`` returns why a log file could not be written, "" if it could.
    """
    errors = [f"access_log: {why}" for path in log_files(config) if (why := trouble(path))]
    state = config.settings.state
    if state and not _may_replace(state):
        errors.append(f"state: folder {_folder(state)} is not writable, changes cannot be saved")
    left = [("pid file", pidfile)] if pidfile else []
    left += [("admin socket", one.address.path) for one in config.settings.admin if one.address]
    warnings = [
        f"{what} {path} will remain after the stop: folder {_folder(path)} is not writable"
        for what, path in left
        if path and not _may_replace(path)
    ]
    return errors, warnings


def _folder(path: str) -> Path:
    return Path(path).absolute().parent


def _may_replace(path: str) -> bool:
    return os.access(_folder(path), os.W_OK | os.X_OK, effective_ids=True)
