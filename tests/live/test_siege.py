"""Each attack of ``make siege`` for one second and with few connections: what must hold on a busy
machine too. Times are not judged here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.siege.attack import begin
from tests.siege.attacks import ATTACKS
from tests.siege.places import Place, start
from tests.siege.visitor import Visitor
from tests.support import tls
from tests.support.process import until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-siege")]

PART = 0.1  # of the connections and the rate
SECONDS = 1.0
GROWTH_MB = 24.0
ORDINARY = 10  # requests of an ordinary client, at least


@pytest.fixture
def place(nginx_pair, tmp_path, request):
    """lbproxy, with a token for its API if the attack is about tokens."""
    pem = Path(tls.write(tls.issue("siege.example"), tmp_path))
    made = start(
        "lbproxy",
        tmp_path / "lb",
        [origin.address for origin in nginx_pair],
        pem,
        tokens=ATTACKS[request.param].tokens,
    )
    yield request.param, made
    made.stop()


@pytest.mark.parametrize("place", list(ATTACKS), indirect=True)
def test_ordinary_clients_are_served_under_attack(place: tuple[str, Place]) -> None:
    name, lb = place
    before = lb.rss()
    attacker = begin(name, SECONDS, lb.ports, PART)
    visitor = Visitor(lb.ports.http)
    assert attacker.wait(60) == 0
    assert until(lambda: len(visitor.visit.times) >= ORDINARY)
    seen = visitor.stop()
    assert not seen.failures
    assert lb.child.alive
    assert lb.rss() - before < GROWTH_MB
    log = (lb.child.log).read_text(errors="replace")
    assert "Traceback" not in log and "Unhandled" not in log, log[-4000:]
