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
from tests.count.budget import BUDGETS, Budget, complaints, parse, render, unexplained
from tests.count.measure import Figure, count
from tests.count.parent import NoParent, parent_budget, parent_rows
from tests.count.rows import ROWS
from tests.count.versions import versions
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
    ours = [figure for figure in found if figure.proxy == "lbproxy"]
    failed = [f"{row}: was not counted" for row in rows if row not in {f.row for f in ours}]
    if options.reason:
        _write(ours, options.reason)
    elif options.check:
        failed += _check(ours)
    for complaint in failed:
        print(complaint)
    if options.check and failed:
        print(f'allow a rise in its own commit: make count REASON="why", and commit {BUDGETS.name}')
    return int(bool(failed))


def _write(figures: list[Figure], reason: str) -> None:
    old = parse(BUDGETS.read_text()) if BUDGETS.exists() else Budget()
    BUDGETS.write_text(render(old.with_figures(figures, versions(), reason)))


def _check(figures: list[Figure]) -> list[str]:
    """Compare with the budgets, or with the parent commit if they are those of other versions."""
    if compiled.running() != "compiled":
        return [f"the budgets are for compiled modules, and lbproxy is {compiled.running()}"]
    budget = parse(BUDGETS.read_text())
    now = versions()
    try:
        found = unexplained(parent_budget(), budget)
        other = [name for name in now if now[name] != budget.versions.get(name)]
        if not other:
            return found + complaints(budget.rows, figures)
        for name in other:
            print(f"{name} is {now[name]}, and {budget.versions.get(name)} in {BUDGETS.name}")
        print("comparing with the parent commit, which is compiled and counted now", flush=True)
        before = parent_rows([figure.row for figure in figures])
        return found + complaints(before, figures, "parent commit's")
    except NoParent as error:
        return [str(error)]


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
    parser.add_argument("--check", action="store_true", help="fail if a row exceeds its budget")
    parser.add_argument("--reason", help="write the figures to the budgets file, with this reason")
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
