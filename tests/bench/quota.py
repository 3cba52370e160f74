"""So much of a core for each process of a proxy: how several share the work shows on few cores,
too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

__all__ = ["NoQuota", "Quota"]

_V1 = Path("/sys/fs/cgroup/cpu")
_V2 = Path("/sys/fs/cgroup")
_PERIOD = 20_000  # microseconds
_numbers = count()


class NoQuota(Exception):
    """There are no control groups for us here."""


class Quota:
    """Each of ``tasks`` (processes, with cgroups v1 also threads) may use ``share`` of a core until
    :meth:`end`.

    Raises NoQuota; it takes root.
    """

    def __init__(self, tasks: Iterable[int], share: float) -> None:
        self._groups: list[Path] = []
        try:
            for task in tasks:
                self._hold(task, round(share * _PERIOD))
        except OSError as error:
            self.end()
            raise NoQuota(f"no quota of a core here: {error}") from error

    def _hold(self, task: int, quota: int) -> None:
        name = f"lbproxy-bench-{os.getpid()}-{next(_numbers)}"
        group = (_V1 if (_V1 / "cpu.cfs_quota_us").exists() else _V2) / name
        group.mkdir()
        self._groups.append(group)
        if group.parent == _V1:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
        (group / _list(group)).write_text(str(task))

    def end(self) -> None:
        """Whoever still runs may use all of a core again."""
        for group in self._groups:
            members = group / _list(group)
            for task in members.read_text().split() if members.exists() else ():
                with suppress(OSError):  # it has ended meanwhile
                    (group.parent / members.name).write_text(task)
            group.rmdir()
        self._groups.clear()


def _list(group: Path) -> str:
    """The file that names who is in ``group``; that of threads where there is one."""
    return "tasks" if group.parent == _V1 else "cgroup.procs"
