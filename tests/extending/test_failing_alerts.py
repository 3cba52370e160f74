"""Destinations of alerts that raise: the notice counts as failed, and others follow."""

from __future__ import annotations

from typing import Any

from lbproxy.alerts.notify import Destination
from lbproxy.observe.notices import Notice
from lbproxy.testing import LB
from tests.extending.seams import TEXT, every, exception


class BadDestination(Destination):
    """Raises."""

    name = "bad"

    def __init__(self, reactor: Any, error: str) -> None:
        super().__init__(reactor)
        self.error = error

    async def send(self, notice: Notice) -> None:
        raise exception(self.error)


@every
def test_alert_destinations(error: str, failures: list[str]) -> None:
    lb = LB.from_config("[alerts]\n" + TEXT.format(web="", app=""))
    alerter = lb.service.alerter
    alerter._targets = [BadDestination(lb.reactor, error)]
    group = lb.backend("app").group
    for healthy in (False, True, False):
        group.set_health(group.servers["a"], healthy, "no reason")
        lb.advance(700)
    assert alerter.failed >= 2 and not alerter._sending
    assert set(failures) == {error}
    lb.close()
