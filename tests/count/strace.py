"""Run a process under strace and count the system calls it makes between two points in time.

Callgrind cannot count them: reading a clock is a system call under valgrind, and not otherwise.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

from tests.bench.load import tool

__all__ = ["Strace"]

# PID TIME NAME(...; the second line of an interrupted call, "<... resumed>", does not match
_LINE = re.compile(r"^\d+ (\d+\.\d+) (\w+)\(", re.MULTILINE)


class Strace:
    """strace for one process: put ``prefix`` in front of its command.

    strace writes its file to ``folder``.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out = folder / "strace.out"
        # -D: the process that was started is the command
        self.prefix = [tool("strace"), "-D", "-f", "-qq", "-ttt", "-s0", "-o", str(self._out)]

    @staticmethod
    def now() -> float:
        """Return the time in seconds, by the clock that strace uses."""
        return time.time()

    def calls(self, moments: list[float]) -> list[Counter[str]]:
        """Return system calls by name between each moment and the next.

        Call it after the process has ended: strace buffers what it writes.
        """
        found = [Counter[str]() for _ in moments[1:]]
        for at, name in _LINE.findall(self._out.read_text()):
            for number, begin in enumerate(moments[:-1]):
                if begin <= float(at) < moments[number + 1]:
                    found[number][name] += 1
        return found
