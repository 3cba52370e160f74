"""DATA. Starts the processes that judge requests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import lbproxy

__all__ = ["PROCESS", "command", "environment"]

PROCESS: Final = "lbproxy.proxy.features.waf.modsecurity.process"
"""Module that it runs."""


def command(word: str) -> list[str]:
    """Return its command line.  ``-P``: no module is taken from the folder where lbproxy runs."""
    return [sys.executable, "-P", "-m", PROCESS, word]


def environment() -> dict[str, str]:
    """Return its environment.  That of lbproxy may hold secrets, so most of it is left out."""
    ours = str(Path(lbproxy.__file__).resolve().parents[1])
    known = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    path = os.environ.get("PYTHONPATH")
    return {
        **known,
        "PYTHONPATH": f"{ours}{os.pathsep}{path}" if path else ours,
        "LBPROXY_COMPILED": "0",
    }
