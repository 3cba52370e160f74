"""CONTROL. Problems of a log file, found before it is opened."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["trouble_with"]


def trouble_with(path: str) -> str:
    """Return why the present user could not write a log at ``path``; "" if no problem is known."""
    if path in ("", "off", "stdout") or path.startswith("syslog:"):
        return ""
    target = Path(path)
    try:
        return _trouble(target)
    except PermissionError:
        return f"folder {target.parent} is not accessible"


def _trouble(target: Path) -> str:
    if target.is_dir():
        return f"{target} is a folder"
    if target.exists():
        writable = os.access(target, os.W_OK, effective_ids=True)
        return "" if writable else f"{target} is not writable"
    if not target.parent.is_dir():
        return f"there is no folder {target.parent}"
    writable = os.access(target.parent, os.W_OK | os.X_OK, effective_ids=True)
    return "" if writable else f"folder {target.parent} is not writable"
