"""A busy firewall hardly slows down requests that it does not judge."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.attacks.flood import begin
from tests.siege.attacks import Ports
from tests.siege.visitor import Visitor
from tests.support.lb_process import LBProcess
from tests.support.modsecurity import with_core_rules
from tests.support.origin import RawOrigin
from tests.support.ports import free_ports

pytestmark = [pytest.mark.live, pytest.mark.long]

RATIO = 1.5
"""Bound of the p99 beside a busy firewall, as a multiple of that beside an idle one."""

FLOOR_MS = 100.0
"""Shorter times are no failure: other programs of the machine cost as much."""

PHASE_S = 4.0
ROUNDS = 3

TEXT = """
[lbproxy]
access_log = access.log json

[waf crs]
rules = /usr/share/modsecurity-crs
processes = 1

[frontend plain]
listen = tcp:{plain}:interface=127.0.0.1
backend = app

[frontend judged]
listen = tcp:{judged}:interface=127.0.0.1
waf = crs
backend = app

[backend app]
servers = a 127.0.0.1:{origin}
"""


def _p99(port: int) -> float:
    visitor = Visitor(port)
    time.sleep(PHASE_S)
    visit = visitor.stop()
    assert not visit.failures, visit.failures[:5]
    return visit.percentile(99)


def test_requests_beside_a_busy_firewall(tmp_path: Path, record_property: Any) -> None:
    """Idle and busy phases take turns, so that other load of the machine meets both."""
    with_core_rules()
    plain, judged = free_ports(2)
    origin = RawOrigin(tmp_path / "origin").start()
    lb = LBProcess(
        TEXT.format(plain=plain, judged=judged, origin=origin.port),
        tmp_path,
        timeout=60,
        forked=True,
    )
    idle, busy = [], []
    try:
        for _ in range(ROUNDS):
            idle.append(_p99(plain))
            flood = begin("requests", PHASE_S, Ports(judged, 0, 0))
            try:
                busy.append(_p99(plain))
                assert flood.wait(60) == 0
            finally:
                flood.kill()
    finally:
        lb.stop()
        origin.stop()
    record_property("idle_ms", [round(one, 2) for one in idle])
    record_property("busy_ms", [round(one, 2) for one in busy])
    print(idle, busy)
    judged = (lb.folder / "access.log").read_bytes().count(b'"frontend":"judged"')
    assert judged > 10 * ROUNDS, "the firewall was busy"
    assert median(busy) <= max(RATIO * median(idle), FLOOR_MS), (idle, busy)
