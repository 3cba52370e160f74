"""Run a process under callgrind and read how many instructions it executes in user space.

Instrumentation is off while the process starts and warms up: this is about ten times faster.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.bench.load import tool

__all__ = ["Callgrind"]

TIMEOUT = 60.0
"""Seconds that valgrind may take to answer a command."""


class Callgrind:
    """Callgrind for one process: put ``prefix`` in front of its command.

    Callgrind writes its files to ``folder``.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out = folder / "callgrind.out"
        self._vgdb = folder / "vgdb"
        self._parts = 0
        self.prefix = [
            tool("valgrind"),
            "--tool=callgrind",
            "--quiet",
            "--instr-atstart=no",
            "--dump-line=no",
            f"--callgrind-out-file={self._out}",
            f"--vgdb-prefix={self._vgdb}",
        ]

    def begin(self, pid: int) -> None:
        """Start counting."""
        self._ask(pid, "instrumentation on")

    def instructions(self, pid: int) -> int:
        """Return the instructions executed since the last call, or since :meth:`begin`."""
        self._ask(pid, "dump")
        self._parts += 1
        return total(self.last.read_text())

    @property
    def last(self) -> Path:
        """The profile that the last call of :meth:`instructions` wrote."""
        return self._out.with_name(f"{self._out.name}.{self._parts}")

    def _ask(self, pid: int, command: str) -> None:
        line = [tool("vgdb"), f"--pid={pid}", f"--vgdb-prefix={self._vgdb}", *command.split()]
        done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode:
            raise RuntimeError(f"vgdb {command}: {done.stdout}{done.stderr}")


def total(text: str) -> int:
    """Return the instructions in a profile; ValueError if it has no sum."""
    found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    if found is None:
        raise ValueError("callgrind wrote no sum")
    return int(found[1])
