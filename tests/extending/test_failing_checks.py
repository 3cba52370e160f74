"""Probes and look-ups of names that raise: they are repeated, and traffic goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import succeed

from lbproxy.health.state import Result
from tests.extending.seams import every, exception, over, start

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
