"""Code of others in the background that raises: services, probes, names, alerts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import succeed

from lbproxy.alerts.notify import Destination
from lbproxy.health.state import Result
from lbproxy.observe.notices import Notice
from lbproxy.testing import LB
from tests.extending.conftest import Install
from tests.extending.seams import FEATURE, TEXT, every, exception, over, start


class BadService(Service):
    """Does not start, or does not stop."""

    def __init__(self, method: str, error: str) -> None:
        def fail() -> None:
            raise exception(error)

        setattr(self, method, fail)


@every
@pytest.mark.parametrize("method", ["startService", "stopService"])
def test_services(install: Install, method: str, error: str, failures: list[str]) -> None:
    install("bad", FEATURE, "Bad")
    lb = start()
    text = TEXT.format(web="", app="bad = none.none\nqueue = {queue}")
    from bad import Bad as Installed  # type: ignore[import-not-found]

    Installed.services = lambda self: (BadService(method, error),)
    for queue in (7, 8):
        assert lb.service.reload(text.replace("{queue}", str(queue))).ok
        assert lb.backend("app").spec.queue == queue
    assert set(failures) == {error}
    assert lb.get("http://h/").status == 200
    Installed.services = lambda self: ()
    assert lb.service.reload(TEXT.format(web="", app="")).ok


# -- probes, names, alerts ----------------------------------------------------------------------

PROBE = """
from lbproxy.probes.base import Probe

class Sync(Probe):
    def check(self, target):
        raise {error}("on purpose")

class Async(Probe):
    async def check(self, target):
        raise {error}("on purpose")
"""


@every
@pytest.mark.parametrize("kind", ["Sync", "Async"])
def test_probes(tmp_path: Path, kind: str, error: str, failures: list[str]) -> None:
    (tmp_path / "bad.py").write_text(PROBE.format(error=error))
    lb = start(app=f"check = {tmp_path}/bad.py:{kind} every=1s rise=1 fall=1\n")
    lb.advance(5)
    server = lb.server("app", "a")
    assert not server.healthy and "on purpose" in server.health_note
    assert set(failures) == {error}
    checker = lb.service.generation.checkers["app"]
    checker.probe.check = lambda target: succeed(Result(True, "fine"))
    lb.advance(5)
    assert server.healthy and lb.get("http://h/").status == 200
    over(lb)


@every
def test_names(error: str, failures: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lb = start(app="    b name.example:80\nresolve_every = 1s\n")
    asked: list[str] = []

    def fail(receiver: Any, host: str, *words: Any, **named: Any) -> Any:
        asked.append(host)
        raise exception(error)

    monkeypatch.setattr(lb.reactor.nameResolver, "resolveHostName", fail, raising=False)
    lb.advance(20)
    assert len(asked) > 2, "look-ups go on"
    assert lb.get("http://h/").status == 200
    over(lb)


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
