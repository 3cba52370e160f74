"""``python -m tests.count [ROW ...]``: instructions and system calls of lbproxy per unit of work.

ROW is a name or a pattern with ``*``; without one, all rows are counted, two at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path

from attrs import asdict

from lbproxy import compiled
from tests.bench.load import MissingTool
from tests.bench.proxies import Unavailable
from tests.count.measure import Figure, count
from tests.count.rows import ROWS
from tests.support.process import NotReady

FORMAT = "{:<18} {:<8} {:>12} {:>7}  {}"


def main() -> int:
    """Return the exit status."""
    options = _options()
    rows = _chosen(options.rows)
    proxies = ["lbproxy", "nginx", "haproxy"] if options.rivals else ["lbproxy"]
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    print(f"lbproxy is {compiled.running()}", flush=True)
    print(FORMAT.format("row", "proxy", "instructions", "calls", "calls by name"))
    found = []
    for figure in _figures(rows, proxies, options.jobs, options.keep):
        print(line(figure), flush=True)
        found.append(figure)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(f) for f in found], indent=1) + "\n")
    return 0


def line(figure: Figure) -> str:
    """Format a figure for people."""
    calls = " ".join(f"{name}={number:.2f}" for name, number in figure.by_name.items())
    return FORMAT.format(
        figure.row, figure.proxy, f"{figure.instructions:,.0f}", f"{figure.calls:.2f}", calls
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.count", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=" ".join(ROWS))
    parser.add_argument("--rivals", action="store_true", help="nginx and HAProxy, too")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time (2)")
    parser.add_argument("--keep", type=Path, help="a folder for the profiles that callgrind writes")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


def _chosen(patterns: list[str]) -> list[str]:
    found = [row for row in ROWS if not patterns or any(fnmatchcase(row, p) for p in patterns)]
    if not found:
        sys.exit(f"no such row; rows: {' '.join(ROWS)}")
    return found


def _figures(rows: list[str], proxies: list[str], jobs: int, keep: Path | None) -> Iterator[Figure]:
    """Count each row in its own process; yield the figures in order, without those that fail."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting: list[tuple[str, str, Future[Figure]]] = [
            (row, proxy, pool.submit(count, row, proxy, keep)) for row in rows for proxy in proxies
        ]
        for row, proxy, future in waiting:
            try:
                yield future.result()
            except (Unavailable, MissingTool) as error:
                print(f"{row:<18} {proxy:<8} left out: {error}", flush=True)
            except (NotReady, RuntimeError, OSError) as error:
                print(f"{row:<18} {proxy:<8} failed: {error}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
