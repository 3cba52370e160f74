"""CONTROL. Entry points of installed packages, without a slow search when none are installed.

Importing :mod:`importlib.metadata` takes as long as reading a small configuration, and almost no
installation has plugins. The files of entry points in the folders of :data:`sys.path` are therefore
searched for the prefix of lbproxy's groups first. The module is imported only if a file contains
it, or if packages may come from elsewhere: an archive, or another kind of finder.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["forget_packages", "installed"]

_MARK = b"[lbproxy."


def installed(group: str) -> list[EntryPoint]:
    """Return the entry points of ``group``, such as ``lbproxy.features``."""
    if not _may_exist():
        return []
    from importlib.metadata import entry_points

    return list(entry_points(group=group))


def forget_packages() -> None:
    """Search again at the next call."""
    _may_exist.cache_clear()


@cache
def _may_exist() -> bool:
    """Return whether a package may have entry points of lbproxy."""
    others = (finder for finder in sys.meta_path if finder is not PathFinder)
    return any(hasattr(finder, "find_distributions") for finder in others) or any(
        _in_folder(folder or ".") for folder in sys.path
    )


def _in_folder(folder: str) -> bool:
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return any(_in_package(os.path.join(folder, name)) for name in names)  # noqa: PTH118


def _in_package(path: str) -> bool:
    if path.endswith(".egg"):
        return True
    if not path.endswith((".dist-info", ".egg-info")):
        return False
    try:
        with open(os.path.join(path, "entry_points.txt"), "rb") as file:  # noqa: PTH118, PTH123
            return _MARK in file.read()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
