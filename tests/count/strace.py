"""Run a process under strace and count the system calls it makes between two points in time.

Callgrind cannot count them: reading a clock is a system call under valgrind, and not otherwise.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

from tests.bench.load import tool
from tests.support.process import until

__all__ = ["Strace"]

# PID TIME NAME(...; the second line of an interrupted call, "<... resumed>", does not match
_LINE = re.compile(r"^\d+ +(\d+\.\d+) (\w+)\(", re.MULTILINE)


class Strace:
    """strace for one process: put ``prefix`` in front of its command.

    strace writes its file to ``folder``.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out = folder / "strace.out"
        # -D: the process that was started is the command
        self.prefix = [tool("strace"), "-D", "-f", "-q", "-ttt", "-s0", "-o", str(self._out)]
        self._moments: list[float] = []

    def mark(self, pid: int) -> None:
        """Begin an interval, and end the one before."""
        self._pid = pid
        self._moments.append(time.time())

    def calls(self) -> list[Counter[str]]:
        """Return system calls by name for each interval between two marks.

        Call it after the process has ended.  RuntimeError if the trace is not complete 30 s later.
        """
        if not until(self._complete, 30):
            raise RuntimeError("strace did not write the end of the process")
        found = [Counter[str]() for _ in self._moments[1:]]
        for at, name in _LINE.findall(self._out.read_text()):
            for number, (begin, end) in enumerate(pairwise(self._moments)):
                if begin <= float(at) < end:
                    found[number][name] += 1
        return found

    def _complete(self) -> bool:
        end = rf"^{self._pid} +\S+ \+\+\+ "
        return re.search(end, self._out.read_text(), re.MULTILINE) is not None
