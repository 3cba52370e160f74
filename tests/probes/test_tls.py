"""The tls check: handshakes, verification and certificates that soon expire, in memory."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from twisted.logger import formatEvent, globalLogPublisher

from lbproxy.probes.base import ProbeTarget
from lbproxy.probes.tls import TlsOptions, TlsProbe
from lbproxy.tls.certificates import load
from lbproxy.tls.contexts import ClientContextFactory, ServerContextFactory
from lbproxy.tls.parameters import TLSParameters
from tests.probes.world import World
from tests.support import tls


def secure_world(folder: Path, name: str, **life: Any) -> World:
    """A TLS server with a certificate for ``name``, good for ``life`` from now (default: a
    year).
    """
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(**life or {"days": 365})
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=9)
    leaf = tls.authority().issue_cert(
        name, not_before=since, not_after=until, key_type=trustme.KeyType.ECDSA
    )
    world = World()
    world.listen(ServerContextFactory([load(tls.write(leaf, folder))]))
    return world


def target_for(world: World, folder: Path, name: str = "app.test", **how: Any) -> ProbeTarget:
    how.setdefault("ca", str(tls.ca_file(folder)))
    return world.target(tls=TLSParameters(ClientContextFactory(name, **how), server_side=False))


def probe(world: World, **options: Any) -> TlsProbe:
    return TlsProbe(TlsOptions(**options), world.env)


def test_good(tmp_path: Path) -> None:
    world = secure_world(tmp_path, "app.test")
    result = world.check(probe(world), target_for(world, tmp_path))
    assert result.ok and result.note == "certificate expires in 365 days"
    assert world.clients[0].data == b"" and world.all_closed()


@pytest.mark.parametrize(
    ("name", "life", "how", "note"),
    [
        ("other.test", {}, {}, "server_tls: 10.0.0.1:8000: certificate is not for app.test"),
        ("app.test", {"days": -1}, {}, "server_tls: 10.0.0.1:8000: certificate expired"),
        ("app.test", {}, {"ca": ""}, "server_tls: 10.0.0.1:8000: issuer unknown"),
    ],
)
def test_not_verified(
    tmp_path: Path, name: str, life: dict[str, int], how: dict[str, str], note: str
) -> None:
    world = secure_world(tmp_path, name, **life)
    result = world.check(probe(world), target_for(world, tmp_path, **how))
    assert (result.ok, result.note) == (False, note)
    assert world.all_closed()


def test_expires_soon_is_told_once(tmp_path: Path) -> None:
    world = secure_world(tmp_path, "app.test", days=3, hours=1)
    told: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_namespace") == "lbproxy.probes.tls":
            told.append(str(formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    try:
        one, target = probe(world), target_for(world, tmp_path)
        for _ in range(3):
            assert world.check(one, target).note == "certificate expires in 3 days"
        assert told == ["server app/a: certificate expires in 3 days"]
        assert world.check(probe(world, expires=86400.0), target).ok and len(told) == 1
    finally:
        globalLogPublisher.removeObserver(observe)
    result = world.check(probe(world, strict=True), target)
    assert (result.ok, result.note) == (False, "certificate expires in 3 days")


def test_expired_but_not_verified(tmp_path: Path) -> None:
    world = secure_world(tmp_path, "app.test", hours=-5)
    target = target_for(world, tmp_path, verify=False)
    assert world.check(probe(world), target).note == "certificate has expired"
    assert not world.check(probe(world, strict=True), target).ok


def test_a_server_that_speaks_no_tls(tmp_path: Path) -> None:
    world = World(lambda client: client.write(b"220 hello\r\n"))
    world.listen()
    result = world.check(probe(world), target_for(world, tmp_path))
    assert not result.ok and result.note.startswith("server_tls: ")
