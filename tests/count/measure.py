"""Count one row of one proxy: instructions under callgrind, then system calls under strace."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copy, rmtree
from tempfile import mkdtemp

from attrs import field, frozen

from tests.bench.proxies import PROXIES, Job
from tests.count.callgrind import Callgrind
from tests.count.rows import ROWS, Row
from tests.count.strace import Strace
from tests.count.traffic import Gate, Origin

__all__ = ["WAKEUPS", "Figure", "count", "counted"]

SETTLE = 1.5
"""Seconds to finish a start: lbproxy moves objects out of the garbage collector after one."""

QUIET = 0.2
"""Seconds that the work after the last answer may take: log lines, closed connections."""

WAKEUPS = frozenset({"epoll_wait"})
"""Calls whose number follows from how the machine schedules client, proxy and server."""


@frozen
class Figure:
    """User-space instructions and system calls of ``proxy`` per unit of ``row``.

    ``calls`` is the sum of ``by_name`` as :func:`counted` makes it.
    """

    row: str
    proxy: str
    instructions: float
    calls: float
    by_name: dict[str, float] = field(factory=dict)


def count(row_name: str, proxy_name: str, keep: Path | None = None) -> Figure:
    """Return the figures of a row: those of 3 N units less those of N units, divided by 2 N.

    ``keep`` is a folder for callgrind's profile of the 3 N units.  Raises Unavailable, MissingTool,
    NotReady, RuntimeError and OSError.
    """
    row = ROWS[row_name]
    os.environ["PYTHONHASHSEED"] = "0"
    folder = Path(mkdtemp(prefix="lbproxy-count-"))
    folder.chmod(0o755)
    try:
        instructions = _instructions(row, proxy_name, folder, keep)
        calls = _calls(row, proxy_name, folder)
    finally:
        rmtree(folder, ignore_errors=True)
    return Figure(row.name, proxy_name, instructions, counted(calls), calls)


def counted(calls: Mapping[str, float]) -> float:
    """Return the sum of these system calls without :data:`WAKEUPS`."""
    return sum(number for name, number in calls.items() if name not in WAKEUPS)


def _instructions(row: Row, proxy: str, folder: Path, keep: Path | None) -> float:
    callgrind = Callgrind(folder / "callgrind")
    found: list[int] = []

    def mark(pid: int) -> None:
        if not found:
            callgrind.begin(pid)
        found.append(callgrind.instructions(pid))
        if keep is not None:
            copy(callgrind.last, keep / f"callgrind.out.{row.name}.{proxy}")

    _run(row, proxy, folder / "counted", callgrind.prefix, mark)
    _, once, thrice = found
    return (thrice - once) / (2 * row.units)


def _calls(row: Row, proxy: str, folder: Path) -> dict[str, float]:
    strace = Strace(folder / "strace")
    _run(row, proxy, folder / "traced", strace.prefix, strace.mark)
    once, thrice = strace.calls()
    each = {name: (thrice[name] - once[name]) / (2 * row.units) for name in thrice}
    return {name: number for name, number in sorted(each.items()) if abs(number) >= 0.005}


def _run(
    row: Row, proxy_name: str, folder: Path, prefix: list[str], mark: Callable[[int], None]
) -> None:
    """Start, warm up, call ``mark(pid)``, do N units, mark, do 3 N units, mark, and stop."""
    gate = Gate()
    origin = Origin(row.answers() if row.answers else None, gate)
    try:
        job = Job(
            mode=row.mode,
            servers=origin.addresses,
            tls=_certificate(folder) if row.tls else None,
            check_every=0,
            routes=row.routes,
            words=row.words,
            prefix=prefix,
            cores=(),
        )
        proxy = PROXIES[proxy_name](job, folder)
        client = row.client(proxy.port, origin, gate)
        try:
            pid = gate.pid = proxy.child.pid
            client.run(row.units)
            time.sleep(SETTLE)
            mark(pid)
            for times in (1, 3):
                client.run(times * row.units)
                time.sleep(QUIET)
                mark(pid)
        except (RuntimeError, OSError) as error:
            raise RuntimeError(f"{error}\n{proxy.child.output()[-1000:]}") from error
        finally:
            client.close()
            proxy.stop()
    finally:
        origin.close()


def _certificate(folder: Path) -> Path:
    """Write a P-256 key and certificate to one PEM file."""
    import trustme

    folder.mkdir(parents=True, exist_ok=True)
    issued = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert(
        "www.example.com", "127.0.0.1", key_type=trustme.KeyType.ECDSA
    )
    path = folder / "site.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path
