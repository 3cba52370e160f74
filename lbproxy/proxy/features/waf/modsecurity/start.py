"""DATA. Starts the processes that judge requests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import lbproxy

__all__ = ["PROCESS", "command", "environment"]

PROCESS: Final = "lbproxy.proxy.features.waf.modsecurity.process"
"""The module that the process runs."""


def command(word: str) -> list[str]:
    """Return the command line of a process. With ``-P`` it imports no module from the current
    folder.
    """
    return [sys.executable, "-P", "-m", PROCESS, word]


def environment() -> dict[str, str]:
    """Return the environment of a process, without most of lbproxy's, which may hold secrets."""
    ours = str(Path(lbproxy.__file__).resolve().parents[1])
    known = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    path = os.environ.get("PYTHONPATH")
    return {
        **known,
        "PYTHONPATH": f"{ours}{os.pathsep}{path}" if path else ours,
        "LBPROXY_COMPILED": "0",
    }
