"""The delay of the reactor as a metric."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from lbproxy.admin.lag import EVERY, Lag

from .kit import AdminClient, admin


def late(clock: Clock, seconds: float) -> None:
    """Let one turn of the reactor take this much longer."""
    clock.rightNow += EVERY + seconds
    clock.advance(0)


def test_the_delay_of_a_timer_is_that_of_every_event() -> None:
    clock = Clock()
    lag = Lag(clock)
    assert lag.last == lag.worst == 0.0
    lag.start()
    clock.advance(EVERY)
    assert lag.last == 0.0
    late(clock, 0.75)
    assert lag.last == lag.worst == pytest.approx(0.75)
    clock.advance(EVERY)
    assert (lag.last, lag.worst) == (0.0, pytest.approx(0.75))
    for _ in range(130):
        clock.advance(EVERY)
    assert lag.worst == 0.0, "of the last minute"
    lag.stop()
    assert not clock.getDelayedCalls()


def value(client: AdminClient, name: str) -> float:
    text = client.ask("GET", "/metrics").response.text
    (line,) = [one for one in text.splitlines() if one.startswith(f"{name} ")]
    return float(line.split()[1])


def test_a_busy_process_shows_it() -> None:
    with admin() as client:
        client.lb.advance(EVERY)
        assert value(client, "lbproxy_reactor_lag_max_seconds") < 0.1
        client.lb.reactor.rightNow += EVERY + 0.75
        client.lb.advance(0)
        assert value(client, "lbproxy_reactor_lag_seconds") == pytest.approx(0.75, abs=0.5)
        assert value(client, "lbproxy_reactor_lag_max_seconds") > 0.7
        assert client.get("state")["process"]["lag_s"] > 0.7
