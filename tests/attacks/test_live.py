"""The attacks against a running lbproxy: nothing gets through a limit, memory is bounded, and an
ordinary client keeps its p99.

The attacker has a process of its own, a fixed rate and at most half a core.  The ordinary client
asks 50 times a second; its p99 may be three times that of the quiet seconds before, or three times
that of a client of another lbproxy at the same time, which nobody attacks: on a busy machine both
wait for the processor. Below :data:`FLOOR_MS` nothing is judged. ``make siege`` measures p99
itself.
"""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.tls.certificates import self_signed
from tests.attacks.flood import FLOODS, begin
from tests.siege.attacks import Ports
from tests.siege.visitor import Visitor
from tests.support.lb_process import LBProcess
from tests.support.origin import RawOrigin
from tests.support.ports import free_ports
from tests.support.process import until

FLOOR_MS = 1000.0
ATTACK_S = 8.0
QUIET_S = 3.0
GROWTH = 64 * 1024 * 1024

TEXT = """
[lbproxy]
admin = tcp:{admin}:interface=127.0.0.1

[list office]
addresses = 127.0.0.1

[limit per-client]
rate = 20/s burst=40

[limit new]
rate = 20/s burst=40
unit = connections

[frontend web]
listen =
    tcp:{port}:interface=127.0.0.1
    tls:{tls}:interface=127.0.0.1 certificates=site.pem
maxconn = 2000
timeout_handshake = 3s
timeout_header = 3s
max_header_bytes = 16k
min_body_rate = 500/s
min_read_rate = 500/s
limits =
    per-client if not client list:office
    new if not client list:office
challenge = {challenge}
challenge_except = client list:office
backend = app

[backend app]
servers = a 127.0.0.1:{origin}
"""


class Guarded:
    """lbproxy as an operator would guard it.  The office, 127.0.0.1, has no limits."""

    def __init__(self, folder: Path, challenge: str) -> None:
        certificate, key = self_signed(["localhost"])
        (folder / "site.pem").write_bytes(certificate + key)
        self.port, self.tls, self.admin = free_ports(3)
        self.origin = RawOrigin(folder / "origin").start()
        text = TEXT.format(
            port=self.port, tls=self.tls, admin=self.admin,
            origin=self.origin.port, challenge=challenge,
        )  # fmt: skip
        self.lb = LBProcess(text, folder, timeout=60, forked=True)

    def stop(self) -> None:
        self.lb.stop()
        self.origin.stop()

    def facts(self) -> dict[str, Any]:
        """The frontend as the API shows it."""
        url = f"http://127.0.0.1:{self.admin}/api/v1/frontends/web"
        with urllib.request.urlopen(url, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("guarded"), "on")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One that nobody attacks."""
    made = Guarded(tmp_path_factory.mktemp("control"), "on")
    yield made
    made.stop()


def quiet(guarded: Guarded) -> float:
    """The p99 of an ordinary client without an attack."""
    visitor = Visitor(guarded.port)
    time.sleep(QUIET_S)
    visit = visitor.stop()
    assert not visit.failures
    return visit.percentile(99)


def attacked(
    guarded: Guarded, control: Guarded, name: str, seconds: float
) -> tuple[float, float, float]:
    """Attack; returns the p99 of an ordinary client before the attack, elsewhere, and with it."""
    before = quiet(guarded)
    memory = guarded.lb.rss_bytes()
    flood = begin(name, seconds, Ports(guarded.port, guarded.tls, 0))
    visitor, elsewhere = Visitor(guarded.port), Visitor(control.port)
    try:
        assert flood.wait(seconds + 60) == 0
    finally:
        flood.kill()
        visit, other = visitor.stop(), elsewhere.stop()
    assert not visit.failures, (name, visit.failures[:5])
    assert guarded.lb.rss_bytes() - memory < GROWTH, name
    return before, other.percentile(99), visit.percentile(99)


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """What happened in between, by close reason."""
    old = before["closes"]
    return {kind: count - old.get(kind, 0) for kind, count in after["closes"].items()}


WANTED = {
    "slow_heads": "client_timeout",
    "slow_bodies": "client_slow",
    "slow_reads": "client_slow",
    "requests": "challenged",
    "spoofed": "rate_limited",
    "whole_handshakes": "rate_limited",
    "games": "bad_request",
}
"""The close reason that an attack must meet."""

SECONDS = {"slow_reads": 20.0}
"""How long an attack lasts that is judged after longer: what its system takes at first counts."""


@pytest.mark.long
@pytest.mark.parametrize("name", FLOODS)
def test_an_attack(guarded: Guarded, control: Guarded, name: str) -> None:
    before = guarded.facts()
    calm, other, under = attacked(guarded, control, name, SECONDS.get(name, ATTACK_S))
    assert under <= max(3 * calm, 3 * other, FLOOR_MS), (name, calm, other, under)
    if name in WANTED:
        assert until(lambda: changes(before, guarded.facts()).get(WANTED[name], 0) > 0), name


def test_requests_from_many_addresses_do_not_get_through_the_challenge(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, "on")
    try:
        flood = begin("requests", 1.5, Ports(guarded.port, guarded.tls, 0))
        assert flood.wait(60) == 0
        facts = guarded.facts()
        assert facts["closes"]["challenged"] > 10
        assert "ok" not in facts["closes"]
    finally:
        guarded.stop()


@pytest.mark.long
def test_readers_are_judged_by_what_their_system_has_acknowledged(tmp_path: Path) -> None:
    """Buffers of the system hold megabytes, so writing says nothing about either client."""
    guarded = Guarded(tmp_path, "off")
    body = b"x" * 12_000_000
    head = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
    try:
        clients = []
        for _ in range(2):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            client.connect(("127.0.0.1", guarded.port))
            client.sendall(head + body)
            clients.append(client)
        steady, stopped = clients
        steady.settimeout(60)
        for _ in range(140):
            assert steady.recv(4096)  # some 40 kB/s
            time.sleep(0.1)
        assert guarded.facts()["closes"]["client_slow"] == 1
        assert steady.recv(4096)
        stopped.close()
        steady.close()
    finally:
        guarded.stop()


@pytest.mark.long
def test_spoofed_addresses_share_the_bucket_of_their_peer(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, "off")
    try:
        begin_at = time.monotonic()
        flood = begin("spoofed", 3.0, Ports(guarded.port, guarded.tls, 0))
        assert flood.wait(60) == 0
        passed = time.monotonic() - begin_at
        facts = guarded.facts()
        assert facts["closes"]["rate_limited"] > 20
        assert facts["closes"].get("ok", 0) <= 40 + 20 * passed + 1
    finally:
        guarded.stop()
