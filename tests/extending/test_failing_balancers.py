"""Balancers that raise: another server is picked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.extending.seams import every, over, start

BALANCER = """
from lbproxy.balance.roundrobin import RoundRobin

class Balancer(RoundRobin):
    name = "bad"
    def {method}(self, *words):
        raise {error}("on purpose")
"""


@every
@pytest.mark.parametrize("method", ["pick", "taken", "released", "servers_changed"])
def test_balancers(tmp_path: Path, method: str, error: str, failures: list[str]) -> None:
    (tmp_path / "bad.py").write_text(BALANCER.format(method=method, error=error))
    lb = start(app=f"balance = {tmp_path}/bad.py:Balancer\n")
    assert [lb.get("http://h/").status for _ in range(3)] == [200] * 3
    group = lb.backend("app").group
    group.set_health(group.servers["a"], False, "down")
    group.set_health(group.servers["a"], True, "up")
    assert lb.get("http://h/").status == 200
    assert group.balancer_errors and set(failures) == {error}
    over(lb)
