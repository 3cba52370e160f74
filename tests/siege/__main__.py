"""``python -m tests.siege [ATTACK ...]``: every attack on every proxy; a table, and a verdict.

Ends with status 1 if lbproxy exceeds a bound of :func:`tests.siege.verdict.faults`. Traffic stays
on loopback. The whole run takes less than ten minutes: an attack lasts four seconds, and no new one
begins when the time is up.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.siege.attack import begin
from tests.siege.attacks import ATTACKS, Attack
from tests.siege.places import PLACES, Place, start
from tests.siege.verdict import Outcome, faults
from tests.siege.visitor import Visitor
from tests.support import tls
from tests.support.nginx import NginxOrigin
from tests.support.process import find_binary

WARM_S = 2.0  # lbproxy collects garbage a second after its start
QUIET_S = 1.5
ATTACK_S = 4.0
RETURN_S = 30.0
WHOLE_S = 590.0


class Siege:
    """A folder, two origins and a certificate."""

    def __init__(self, folder: Path) -> None:
        binary = find_binary("nginx")
        if binary is None:
            sys.exit("nginx is needed as the origin")
        self.folder = folder
        self.pem = Path(tls.write(tls.issue("siege.example"), folder))
        self.pem.chmod(0o644)
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_cores = cores[:1]
        os.sched_setaffinity(0, cores[1:] or cores)
        self.origins = []
        for name in "ab":
            place = folder / f"origin-{name}"
            place.mkdir()
            self.origins.append(NginxOrigin(binary, place, name, cores=tuple(cores[1:])).start())

    def stop(self) -> None:
        """End the origins."""
        for origin in self.origins:
            origin.stop()

    def suffer(self, attack: Attack, name: str) -> Outcome | None:
        """One attack on one proxy; None if it cannot be attacked so."""
        if attack.admin and name != "lbproxy":
            return None
        addresses = [origin.address for origin in self.origins]
        place = start(
            name,
            self.folder / f"{attack.run.__name__}-{name}",
            addresses,
            self.pem,
            tokens=attack.tokens,
            cores=self.proxy_cores,
        )
        if place is None:
            return None
        try:
            return _measure(attack, place)
        finally:
            place.stop()


def _measure(attack: Attack, place: Place) -> Outcome:
    visitor = Visitor(place.ports.http)
    time.sleep(WARM_S if place.name == "lbproxy" else WARM_S / 4)
    visitor.stop()
    visitor = Visitor(place.ports.http)
    time.sleep(QUIET_S)
    quiet = visitor.stop()
    rest = peak = place.rss()
    attacker = begin(attack.run.__name__, ATTACK_S, place.ports)
    time.sleep(0.5)  # it starts
    visitor = Visitor(place.ports.http)
    end = time.monotonic() + ATTACK_S
    while time.monotonic() < end and place.child.alive:
        peak = max(peak, place.rss())
        time.sleep(0.1)
    attacker.wait(30)
    seen = visitor.stop()
    after = place.rss() if place.child.alive else 0.0
    end = time.monotonic() + RETURN_S
    while place.child.alive and after > 1.2 * rest and time.monotonic() < end:
        time.sleep(0.5)
        after = place.rss()
    return Outcome(
        quiet.percentile(99),
        seen.percentile(50),
        seen.percentile(99),
        len(seen.times) + len(seen.failures),
        len(seen.failures),
        rest,
        max(peak, rest),
        after,
        place.child.alive,
    )


def _row(name: str, one: Outcome) -> str:
    return (
        f"  {name:8} {one.quiet:9.1f} {one.p50:7.1f} {one.p99:8.1f}"
        f" {one.failed:6}/{one.requests:<5} {one.rest:7.1f} {one.growth:+8.1f} {one.after:7.1f}"
    )


def main(names: list[str]) -> int:
    """Run the attacks named, or all; return the exit status."""
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        sys.exit(f"unknown attack {unknown[0]!r}: one of {', '.join(ATTACKS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left running
    folder = Path(tempfile.mkdtemp(prefix="lbproxy-siege-"))
    folder.chmod(0o755)
    siege = Siege(folder)
    wrong: list[str] = []
    print(f"{'':10} {'quiet p99':>9} {'p50':>7} {'p99 ms':>8} {'failed':>12}", end="")
    print(f" {'rest MB':>7} {'growth':>8} {'after':>7}")
    end = time.monotonic() + WHOLE_S
    try:
        for name in names or ATTACKS:
            if time.monotonic() > end - 3 * (QUIET_S + ATTACK_S):
                print(f"{name}: no time is left")
                wrong.append(f"{name}: not run")
                continue
            attack = ATTACKS[name]
            print(f"{attack.name} ({name})", flush=True)
            found = {}
            for proxy in PLACES:
                outcome = siege.suffer(attack, proxy)
                if outcome is not None:
                    found[proxy] = outcome
                    print(_row(proxy, outcome), flush=True)
            for text in faults(found):
                print(f"  FAULT: {text}", flush=True)
                wrong.append(f"{name}: {text}")
    finally:
        siege.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(wrong) or "every bound is kept")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
