"""This Python for an ordinary user: mounted where everybody may read it.

The interpreter, its packages or the checkout may be in a folder that only root can enter, as
``/root`` or a private temporary folder.  In a mount namespace of its own, a process finds them
below a folder that is open to everybody.  Needs root on Linux.
"""

from __future__ import annotations

import shlex
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

__all__ = ["FOLDERS", "environment", "in_namespace", "mounts", "program"]

FOLDERS = {"python": sys.base_prefix, "packages": sysconfig.get_path("purelib")}
"""Names below the open folder, and what is mounted there."""


def mounts(folder: str | Path) -> list[str]:
    """Return shell commands that mount the interpreter and its packages below ``folder``."""
    lines = []
    for name, source in FOLDERS.items():
        target = shlex.quote(f"{folder}/{name}")
        lines.append(f"mkdir -p {target}")
        lines.append(f"mount --bind {shlex.quote(source)} {target}")
        lines.append(f"mount -o remount,bind,ro {target}")
    return lines


def program(folder: str | Path) -> str:
    """Return the path of the interpreter below ``folder``."""
    major, minor = sys.version_info[:2]
    return f"{folder}/python/bin/python{major}.{minor}"


def environment(folder: str | Path, library: str | Path) -> dict[str, str]:
    """Return the variables with which it finds its packages, and lbproxy in ``library``."""
    return {
        "PYTHONPATH": f"{library}:{folder}/packages",
        "LD_LIBRARY_PATH": f"{folder}/python/lib",  # an absolute path to libpython is hidden
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def in_namespace(lines: Sequence[str], command: Sequence[str]) -> list[str]:
    """Return the command line of ``command`` in a mount namespace that ``lines`` have prepared."""
    script = "\n".join(["set -e", *lines, f"exec {shlex.join(command)}"])
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", script]
