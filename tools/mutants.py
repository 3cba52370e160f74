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
import ast
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mutations import Mutation, mutate, mutations

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

BUDGETS = (10.0, 60.0)
"""Seconds of tests, as the baseline measured them: at first, and for a mutant that survives them.
"""

UNUSED = 77
"""Exit status of a process that did not load the changed module."""


@dataclass(frozen=True)
class Mutant:
    """A mutation of a file, and the folder whose tests should notice it."""

    path: str
    folder: str
    mutation: Mutation

    def __str__(self) -> str:
        at = f"{self.path}:{self.mutation.line}"
        return f"{at}: {self.mutation.before}  ->  {self.mutation.after}"


def main() -> int:
    """Return 0, whatever survives; 1 if the tests fail without a mutation."""
    options = _options()
    begin = time.monotonic()
    mutants = _mutants(options.patterns)
    chosen = random.Random(options.seed).sample(mutants, min(options.sample, len(mutants)))
    print(f"{len(chosen)} of {len(mutants)} mutants, seed {options.seed}", flush=True)
    paths: dict[str, set[str]] = {}
    for mutant in chosen:
        paths.setdefault(mutant.folder, set()).add(mutant.path)
    with ThreadPoolExecutor(options.jobs) as pool:
        covered = dict(zip(paths, pool.map(_baseline, paths, paths.values()), strict=True))
    failed = [folder for folder, found in covered.items() if not found]
    if failed:
        print(f"the tests fail without a mutation: {' '.join(failed)}")
        return 1
    print(f"coverage known after {time.monotonic() - begin:.0f} s", flush=True)
    results = _try_all(chosen, covered, options.jobs, begin + options.minutes * 60)
    counts = {word: list(results.values()).count(word) for word in sorted(set(results.values()))}
    print(", ".join(f"{number} {word}" for word, number in counts.items()))
    return 0


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


# -- which tests run which line


def _baseline(folder: str, paths: set[str]) -> dict[str, Any]:
    """Run the tests once; return their seconds and, by file and line, those that run it.

    A test that fails is named and left out. Returns nothing if none passes.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, __file__, "--baseline", folder, file.name, *sorted(paths)]
        if subprocess.run(command, cwd=ROOT, env=_env(), check=False).returncode > 1:
            return {}
        found: dict[str, Any] = json.loads(Path(file.name).read_text())
        return found


def _env() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "LBPROXY_COMPILED": "0", "PYTHONPATH": path, "CI": "1"}


class _Recorder:
    """A pytest plugin: seconds of each test, and coverage by test."""

    def __init__(self, coverage: Any) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Whatever runs from now on is run by this test."""
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add up set-up, call and teardown."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)


def _record(folder: str, out: str, paths: list[str]) -> int:
    """``--baseline``: the process that runs the tests with coverage."""
    import coverage
    import pytest

    cover = coverage.Coverage(data_file=None, include=[str(ROOT / path) for path in paths])
    recorder = _Recorder(cover)
    cover.start()
    status = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", folder], [recorder])
    cover.stop()
    data = cover.get_data()
    lines = {
        path: {
            line: [name for name in names if name and name not in recorder.failed]
            for line, names in data.contexts_by_lineno(str(ROOT / path)).items()
        }
        for path in paths
    }
    for name in sorted(recorder.failed):
        print(f"left out, fails without a mutation: {name}", flush=True)
    Path(out).write_text(json.dumps({"seconds": recorder.seconds, "lines": lines}))
    return int(status)


def _tests(mutant: Mutant, covered: dict[str, Any], again: bool) -> tuple[list[str], float]:
    """Return tests that run the line, and how long they take.

    One of each function comes first, fastest first, and then one more of each. ``again``: those
    that do not fit into the first budget.
    """
    seconds = covered["seconds"]
    names = covered["lines"].get(mutant.path, {}).get(str(mutant.mutation.line), [])
    rounds: Counter[str] = Counter()
    ranked = []
    for name in sorted(names, key=lambda name: seconds.get(name, 0.0)):
        function = name.partition("[")[0]
        ranked.append((rounds[function], len(ranked), name))
        rounds[function] += 1
    order = [name for _, _, name in sorted(ranked)]
    first, _ = _fitting(order, seconds, BUDGETS[0])
    return (
        _fitting(order[len(first) :], seconds, BUDGETS[1])
        if again
        else _fitting(order, seconds, BUDGETS[0])
    )


def _fitting(
    names: Sequence[str], seconds: dict[str, float], budget: float
) -> tuple[list[str], float]:
    """Return the first of ``names``, as many as fit into ``budget``, and how long they take."""
    chosen: list[str] = []
    total = 0.0
    for name in names:
        if chosen and total > budget:
            break
        chosen.append(name)
        total += seconds.get(name, 0.0)
    return chosen, total


# -- trying mutants


def _try_all(
    mutants: list[Mutant], covered: dict[str, Any], jobs: int, deadline: float
) -> dict[Mutant, str]:
    """Run each mutant in a fork of this process, which has imported what all need."""
    os.environ.update(_env())
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    import attrs  # noqa: F401
    import h11  # noqa: F401
    import hypothesis.strategies  # noqa: F401
    import pytest  # noqa: F401
    import twisted.internet.protocol  # noqa: F401

    results = dict.fromkeys(mutants, "not tried")
    running: dict[int, tuple[Mutant, float, bool]] = {}
    waiting = deque((mutant, False) for mutant in mutants)
    while True:
        while waiting and len(running) < jobs and time.monotonic() < deadline:
            mutant, again = waiting.popleft()
            names, seconds = _tests(mutant, covered[mutant.folder], again)
            if not names:
                results[mutant] = word = "survived" if again else "not covered"
                print(f"{word}: {mutant}", flush=True)
                continue
            limit = time.monotonic() + 30 + 10 * seconds
            running[_fork(mutant, names)] = mutant, limit, again
        if not running:
            return results
        for pid, word in _ended(running):
            mutant, _, again = running.pop(pid)
            results[mutant] = word
            if word == "survived" and not again:
                waiting.append((mutant, True))
            elif word != "killed":
                print(f"{word}: {mutant}", flush=True)
        done = sum(word != "not tried" for word in results.values())
        if sys.stderr.isatty():
            print(f"\r{done} of {len(mutants)}", end="", file=sys.stderr, flush=True)


def _ended(running: dict[int, tuple[Mutant, float, bool]]) -> Iterator[tuple[int, str]]:
    """Wait for a moment; yield the processes that have ended, and kill those that take too long."""
    time.sleep(0.02)
    for pid, (_, limit, _) in list(running.items()):
        if time.monotonic() > limit:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            yield pid, "killed by timeout"
            continue
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            unused = os.waitstatus_to_exitcode(status) == UNUSED
            yield pid, "not loaded" if unused else "killed" if status else "survived"


def _fork(mutant: Mutant, names: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        status = _run(mutant, names)
    finally:
        os._exit(status)


def _run(mutant: Mutant, names: list[str]) -> int:
    import pytest

    module = mutant.path.removesuffix(".py").replace("/", ".")
    tree = mutate((ROOT / mutant.path).read_text(), mutant.mutation.index)
    import lbproxy  # noqa: F401  it may put a finder of its own in front

    finder = _Finder(module, ROOT / mutant.path, tree)
    sys.meta_path.insert(0, finder)
    importlib.import_module(module)  # pytest puts a finder for all of lbproxy in front
    status = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *names]))
    return status if finder.used else UNUSED


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module, changed."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name = name
        self._path = path
        self._tree = tree
        self.used = False

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if name != self._name:
            return None
        self.used = True
        loader = _Loader(name, str(self._path), self._tree)
        return importlib.machinery.ModuleSpec(name, loader, origin=str(self._path))


class _Loader(importlib.abc.InspectLoader):
    """Executes a syntax tree."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        self._path = path
        self._tree = tree

    def get_source(self, fullname: str) -> None:
        """See :class:`importlib.abc.InspectLoader`."""

    def get_code(self, fullname: str) -> Any:
        """See :class:`importlib.abc.InspectLoader`."""
        return compile(self._tree, self._path, "exec", dont_inherit=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--baseline"]:
        sys.exit(_record(sys.argv[2], sys.argv[3], sys.argv[4:]))
    sys.exit(main())
