"""``python -m tests.bench``: lbproxy against HAProxy and nginx on this machine.

Environment: ``ROUNDS`` (5), ``SECONDS`` of load in each round (3), ``SCENARIO`` (names or patterns
with ``*``, comma separated; all), ``PROXY`` (the same for proxies), ``RIVALS=all`` (those of
``rivals.py`` too), ``JSON`` (path of the result file; bench.json).  The proxy is alone on the first
core; load and origins share the others.  "Measured" is the proxy's CPU time, user and system of all
its processes, for each unit of work; "ratio" is
lbproxy's by the best rival's, below 1 is better.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path

from tests.bench import proxies
from tests.bench.caching import Varnish
from tests.bench.lab import Lab
from tests.bench.load import MissingTool
from tests.bench.measure import Result, measure
from tests.bench.report import header, table
from tests.bench.rivals import RIVALS
from tests.bench.scenarios import SCENARIOS


def chosen(variable: str, names: list[str]) -> list[str]:
    """The names that an environment variable selects; ends the program if there are none."""
    patterns = [word.strip() for word in os.environ.get(variable, "*").split(",")]
    found = [name for name in names if any(fnmatchcase(name, p) for p in patterns)]
    if not found:
        sys.exit(f"{variable}: nothing matches; there are: {', '.join(names)}")
    return found


def say(text: str) -> None:
    """Progress, only for a person who watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def write(path: Path, results: list[Result], rounds: int, seconds: float) -> None:
    """The JSON file, complete after every scenario."""
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "rounds": rounds,
        "seconds": seconds,
        "results": [result.as_json() for result in results],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def main() -> None:
    """Run what was asked for."""
    rounds = int(os.environ.get("ROUNDS", "5"))
    seconds = float(os.environ.get("SECONDS", "3"))
    path = Path(os.environ.get("JSON", "bench.json"))
    names = chosen("SCENARIO", list(SCENARIOS))
    proxies.PROXIES[Varnish.name] = Varnish
    if os.environ.get("RIVALS") == "all":
        proxies.PROXIES.update(RIVALS)
    wanted = chosen("PROXY", list(proxies.PROXIES))
    for name in set(proxies.PROXIES) - set(wanted):
        del proxies.PROXIES[name]
    results: list[Result] = []
    print(header())
    with Lab() as lab:
        for name in names:
            try:
                result = measure(SCENARIOS[name], lab, rounds=rounds, seconds=seconds, say=say)
            except MissingTool as error:
                say("")
                print(f"{name:<22} left out: {error} is not installed")
                continue
            say("")
            print(table(result), flush=True)
            results.append(result)
            write(path, results, rounds, seconds)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
