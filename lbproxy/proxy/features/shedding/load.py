"""DATA. The load of this process: the lag of its reactor, and the memory in use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lbproxy.health.overload import STEP_S

__all__ = ["LoadMeter", "memory_share"]

_KEEP: Final = 0.7  # weight of the last lag: one late turn is forgotten after about a second
_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUP: Final = Path("/proc/self/cgroup")
_MEMORY: Final = Path("/proc/meminfo")
_MEMORY_EVERY: Final = 4  # steps between measurements of memory


class LoadMeter:
    """Measures every :data:`~lbproxy.health.overload.STEP_S` seconds while it has users.

    ``lag``: in seconds. ``memory``: the share in use, from 0 to 1, of the control group's limit or
    of the machine's memory; 0 if unknown.
    """

    def __init__(self, clock: Any) -> None:
        self.lag = 0.0
        self.memory = 0.0
        self._clock = clock
        self._users: list[Any] = []
        self._call: Any = None
        self._due = 0.0
        self._steps = 0

    def use(self, stepped: Any) -> None:
        """Call ``stepped()`` after each measurement."""
        if stepped not in self._users:
            self._users.append(stepped)
        if self._call is None:
            self._arm()

    def leave(self, stepped: Any) -> None:
        """End :meth:`use`. A second call has no effect."""
        if stepped in self._users:
            self._users.remove(stepped)
        if not self._users and self._call is not None:
            self._call.cancel()
            self._call = None

    def _arm(self) -> None:
        self._due = self._clock.seconds() + STEP_S
        self._call = self._clock.callLater(STEP_S, self._measure)

    def _measure(self) -> None:
        late = max(0.0, self._clock.seconds() - self._due)
        self.lag = max(late, self.lag * _KEEP)
        if self._steps % _MEMORY_EVERY == 0:
            self.memory = memory_share()
        self._steps += 1
        self._arm()
        for stepped in list(self._users):
            stepped()


def memory_share(
    groups: Path = _GROUPS, machine: Path = _MEMORY, own_group: Path = _OWN_GROUP
) -> float:
    """Return the share of memory in use: of the nearest control group that has a limit, else of the
    machine; 0 if unknown.

    Page cache that the system can drop does not count.
    """
    for group in _chain(groups, own_group):
        share = _group_share(group)
        if share >= 0:
            return share
    try:
        rows = dict(line.split(":", 1) for line in machine.read_text().splitlines())
        total, free = (int(rows[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        return 1 - free / total
    except (OSError, ValueError, KeyError, IndexError, ZeroDivisionError):
        return 0.0


def _chain(groups: Path, own_group: Path) -> Iterator[Path]:
    """Yield the control group of this process and its parents.

    A systemd service has a group below the root. In a container the root is the container's own
    group.
    """
    try:
        rows = own_group.read_text().splitlines()
    except (OSError, ValueError):
        rows = []
    named = next((row[3:] for row in rows if row.startswith("0::/")), "/")
    group = groups / named.lstrip("/")
    while group != groups and ".." not in group.parts:
        yield group
        group = group.parent
    yield groups


def _group_share(group: Path) -> float:
    """Return the share of the limit of ``group`` in use, -1 if it has no limit."""
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            return max(0.0, used - _inactive(group / "memory.stat")) / int(limit)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    return -1.0


def _inactive(stat: Path) -> int:
    for line in stat.read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0
