"""``make mutants``: put small errors into the sources one at a time, and list those no test
notices.

A sample with a fixed seed is tried, in pure Python, with the tests of the same folder that run the
changed line, one of each function first. Usage: ``mutants.py [--sample N] [--seed N] [--minutes N]
[PATTERN ...]``; patterns choose among the files, such as ``http/forward.py``.

mutmut cannot take a sample, and its copies of functions do not fit native classes. cosmic-ray
changes the sources in place and starts Python anew for each mutant.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from mutanttests import Mutant, Trials
from mutations import mutations

ROOT = Path(__file__).resolve().parents[1]

TARGETS = {
    "tests/http": [
        *("http/h1_*.py", "http/chunkline.py", "http/scan.py"),
        *("http/basehead.py", "http/cookietable.py", "http/head.py"),
        *("http/derivedhead.py", "http/forward.py", "http/hoplines.py", "http/trustedhops.py"),
    ],
    "tests/proxy/http": [
        "proxy/http/exchange.py",
        "proxy/http/answering.py",
        "proxy/http/sourcing.py",
        "proxy/http/delivery.py",
        "proxy/http/attempt*.py",
        "proxy/http/client*.py",
        "proxy/hooks.py",
    ],
    "tests/balance": ["balance/lease.py", "balance/group.py", "balance/membership.py"],
}
"""Files below lbproxy/ by the folder of their tests."""


def main() -> int:
    """Return 0, whatever survives; 1 if nothing can be tried."""
    options = _options()
    deadline = time.monotonic() + options.minutes * 60
    mutants = _mutants(options.patterns)
    if not mutants or options.sample < 1:
        print("no mutants to try: patterns name files below lbproxy/, such as http/forward.py")
        return 1
    chosen = random.Random(options.seed).sample(mutants, min(options.sample, len(mutants)))
    print(f"{len(chosen)} of {len(mutants)} mutants, seed {options.seed}", flush=True)
    os.environ.update(LBPROXY_COMPILED="0", CI="1")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    trials = Trials(chosen, options.jobs, deadline)
    folders = sorted({mutant.folder for mutant in chosen})
    pytest.main(["-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", *folders], [trials])
    counts = Counter(trials.results.values())
    print(", ".join(f"{number} {word}" for word, number in sorted(counts.items())))
    return 0 if counts else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="files below lbproxy/")
    parser.add_argument("--sample", type=int, default=400, help="mutants to try (400)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (1)")
    parser.add_argument("--minutes", type=float, default=40, help="limit of the whole run (40)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    return parser.parse_args()


def _mutants(patterns: Sequence[str]) -> list[Mutant]:
    found = []
    for folder, names in TARGETS.items():
        for path in sorted(p for name in names for p in (ROOT / "lbproxy").glob(name)):
            name = str(path.relative_to(ROOT / "lbproxy"))
            if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns):
                found += [Mutant(f"lbproxy/{name}", folder, m) for m in mutations(path.read_text())]
    return found


if __name__ == "__main__":
    sys.exit(main())
