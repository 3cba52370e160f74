"""The helper that finds free ports is itself tested: two processes never get the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import ports

ROOT = Path(__file__).parents[2]
OTHER = "from tests.support.ports import free_ports; print(*free_ports(300), flush=True); input()"


def test_processes_have_ports_of_their_own() -> None:
    mine = set(ports.free_ports(300))
    others = [
        subprocess.Popen(
            [sys.executable, "-c", OTHER],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    theirs = [set(map(int, other.stdout.readline().split())) for other in others]  # type: ignore[union-attr]
    for other in others:
        other.communicate("\n", timeout=60)
    assert [len(one) for one in theirs] == [300] * 3
    assert len(mine.union(*theirs)) == 1200
    assert all(ports.FIRST < port < ports.LAST for port in mine.union(*theirs))


def test_a_port_that_is_taken_is_left_out() -> None:
    (port,) = ports.free_ports(1)
    held = ports._held(port)
    assert held is not None and ports._held(port) is None
    with held:
        assert port not in ports.free_ports(ports.BLOCK // 2) + ports.free_ports(ports.BLOCK // 2)
