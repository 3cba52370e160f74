"""Conditions by time of day see the time of day, also where lbproxy's clock counts from the
machine's start.
"""

from __future__ import annotations

import time

import pytest

from lbproxy.testing import LB
from tests.proxy.http_kit import GET

TEXT = """\
[frontend web]
listen = tcp:8080
routes =
    time 06:00-22:00 -> reply 200 "day"
    default -> reply 200 "night"
"""


@pytest.mark.parametrize(("hour", "body"), [(12, b"day"), (3, b"night")])
def test_a_route_by_time_of_day(hour: int, body: bytes) -> None:
    lb = LB.from_config(TEXT)
    wheel = lb.service.frontends["web"].wheel
    then = time.mktime((2026, 6, 1, hour, 30, 0, 0, 0, -1))
    wheel.epoch = then - wheel.now()  # as on a monotonic clock
    client = lb.connect("web")
    client.send(GET)
    assert client.received.endswith(body)
    lb.close()
