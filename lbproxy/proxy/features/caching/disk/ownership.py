"""DATA. Checks that a folder belongs to this user, where other users may create folders, too."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["require_own"]


def require_own(path: Path) -> None:
    """Raise PermissionError if another user may have created ``path``, or may write to it.

    In a world-writable folder such as ``/tmp``, each component of the path must belong to this user
    or to root. A folder created earlier by another user could hold forged responses, or be a link.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - links must not be resolved
    for one in (path, *path.parents):
        if one != one.parent and _open_to_all(one.parent) and not _ours(one):
            raise PermissionError(errno.EPERM, f"another user has made {one}")
    if _open_to_all(path):
        raise PermissionError(errno.EPERM, "everybody may write into it")


def _open_to_all(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IWOTH)


def _ours(path: Path) -> bool:
    return path.lstat().st_uid in (os.geteuid(), 0)
