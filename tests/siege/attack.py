"""One attack in a process of its own: ``python -m tests.siege.attack NAME SECONDS PORT ...``."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import suppress

from attrs import astuple

from tests.siege.attacks import ATTACKS, Ports
from tests.siege.pace import Pace

__all__ = ["begin"]


def begin(name: str, seconds: float, ports: Ports, part: float = 1.0) -> subprocess.Popen[bytes]:
    """Start an attack with ``part`` of its usual rate and connections."""
    words = [name, str(seconds), str(part), *(str(port) for port in astuple(ports))]
    return subprocess.Popen([sys.executable, "-m", "tests.siege.attack", *words])


def main() -> None:
    """Run the attack that the arguments name."""
    name, seconds, part, *numbers = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    attack = ATTACKS[name]
    pace = Pace(max(1.0, attack.rate * float(part)), float(seconds))
    attack.run(Ports(*map(int, numbers)), pace, max(1, int(attack.most * float(part))))


if __name__ == "__main__":
    main()
