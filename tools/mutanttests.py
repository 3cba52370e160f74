"""The pytest plugin of ``make mutants``: tests are collected once, and forks of this process run
them.

First each file of tests runs with coverage, to learn which test runs which line, and how long it
takes. Then each mutant gets a fork, which changes the code of a function and runs tests of its
line.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

import coverage
import pytest
from mutantcode import Key, functions, mutated, replace
from mutations import Mutation

ROOT = Path(__file__).resolve().parents[1]

BUDGETS = (10.0, 60.0)
"""Seconds of tests, as measured with coverage: at first, and for a mutant that survives them."""

FILE_S = 900.0
"""Bound for a file of tests with coverage, in seconds."""

NOT_LOADED = 77
"""Exit status of a fork: no function can have the changed code."""

BROKEN = 78
"""Exit status of a fork: the trial itself failed, and says nothing about the mutant."""

WORDS = {0: "survived", NOT_LOADED: "not loaded", BROKEN: "not tried, internal error"}


@dataclass(frozen=True)
class Mutant:
    """A mutation of a file, and the folder whose tests should notice it."""

    path: str
    folder: str
    mutation: Mutation

    def __str__(self) -> str:
        at = f"{self.path}:{self.mutation.line}"
        return f"{at}: {self.mutation.before}  ->  {self.mutation.after}"


@dataclass(frozen=True)
class Task:
    """What a fork runs: it ends with the status that ``run`` returns, after ``limit`` seconds at
    most.
    """

    name: Any
    limit: float
    run: Callable[[], int]


@dataclass
class Covered:
    """What the baseline has shown."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


class Trials:
    """Tries ``mutants``, ``jobs`` at a time, until ``deadline``; ``results`` has what became of
    each.
    """

    def __init__(self, mutants: Sequence[Mutant], jobs: int, deadline: float) -> None:
        self._mutants = mutants
        self._jobs = jobs
        self._deadline = deadline
        self._begin = time.monotonic()
        self.results: dict[Mutant, str] = {}

    def pytest_sessionstart(self) -> None:
        """A fork ends with the first failure: a smaller example is of no use to anybody."""
        from hypothesis import Phase, settings  # pytest warns of a plugin that is imported earlier

        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutants", settings.get_profile("lbproxy"), phases=phases)
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Runs in place of pytest's own loop."""
        if session.testsfailed:
            raise session.Interrupted("tests cannot be collected")
        paths = {str(ROOT / mutant.path) for mutant in self._mutants}
        known = functions(paths)
        gc.collect()
        gc.freeze()
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            forks = Forks(session, self._jobs, folder)
            covered = forks.baseline(sorted(paths))
            for name in covered.failed:
                print(f"left out, fails without a mutation: {name}", flush=True)
            if len(covered.failed) < len(covered.seconds):
                print(f"coverage known after {time.monotonic() - self._begin:.0f} s", flush=True)
                self._try_all(forks, covered, known)
        return True

    def _try_all(
        self, forks: Forks, covered: Covered, known: dict[Key, list[FunctionType]]
    ) -> None:
        self.results = dict.fromkeys(self._mutants, "not tried")
        waiting = deque((mutant, False) for mutant in self._mutants)

        def following() -> Task | None:
            while time.monotonic() < self._deadline and waiting:
                mutant, again = waiting.popleft()
                names, seconds = _tests(mutant, covered, again)
                if names:
                    run = _trial(forks, mutant, names, known)
                    return Task((mutant, again), 30 + 10 * seconds, run)
                self._note(mutant, "survived" if again else "not covered")
            return None

        for (mutant, again), status in forks.run(following):
            word = "killed by timeout" if status is None else WORDS.get(status, "killed")
            if word == "survived" and not again:
                waiting.append((mutant, True))
            else:
                self._note(mutant, word)
        for mutant, _ in waiting:
            self._note(mutant, "not tried to the end")

    def _note(self, mutant: Mutant, word: str) -> None:
        self.results[mutant] = word
        if word != "killed":
            print(f"{word}: {mutant}", flush=True)


class Forks:
    """Runs parts of ``session`` in forks of this process, ``jobs`` at a time."""

    def __init__(self, session: pytest.Session, jobs: int, folder: str) -> None:
        self._session = session
        self._jobs = jobs
        self._folder = folder
        self._items = {item.nodeid: item for item in session.items}

    def run(self, following: Callable[[], Task | None]) -> Iterator[tuple[Any, int | None]]:
        """Run tasks in forks, as long as ``following`` returns one.

        Yield the name of each and its exit status; None: it was killed when its time was over. A
        result may make a new task: ``following`` is asked again until no fork is left.
        """
        running: dict[int, tuple[Any, float]] = {}
        while True:
            while len(running) < self._jobs and (task := following()) is not None:
                running[self._fork(task.run)] = task.name, time.monotonic() + task.limit
            if not running:
                return
            for pid, status in _ended(running):
                name, _ = running.pop(pid)
                yield name, status

    def _fork(self, function: Callable[[], int]) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = BROKEN
        errors = os.dup(2)
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            own = tempfile.mkdtemp(dir=self._folder)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = own
            status = function()
        except (KeyboardInterrupt, pytest.exit.Exception):
            status = 1  # pytest passes these on: a test has failed
        except BaseException:
            os.write(errors, traceback.format_exc().encode())
        finally:
            os._exit(status)

    def tests(self, names: Iterable[str], first: bool = True) -> int:
        """Run tests; return 1 if one fails. ``first``: and none after it."""
        items = [self._items[name] for name in names]
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if first and self._session.testsfailed:
                break
        return min(self._session.testsfailed, 1)

    def baseline(self, paths: list[str]) -> Covered:
        """Run each file of tests, and return the tests of each line of ``paths``."""
        files: dict[str, list[str]] = {}
        for name in self._items:
            files.setdefault(name.partition("::")[0], []).append(name)
        outs = {name: f"{self._folder}/{number}.json" for number, name in enumerate(files)}
        covered = Covered()

        def task(name: str) -> Task:
            return Task(name, FILE_S, lambda: self._record(files[name], paths, outs[name]))

        tasks = map(task, files)
        for name, status in self.run(lambda: next(tasks, None)):
            if status != 0:
                covered.failed.append(name)
                continue
            found = json.loads(Path(outs[name]).read_text())
            covered.seconds |= found["seconds"]
            covered.failed += found["failed"]
            for path, line, names in found["lines"]:
                covered.lines.setdefault((path, line), []).extend(names)
        return covered

    def _record(self, names: list[str], paths: list[str], out: str) -> int:
        cover = coverage.Coverage(data_file=None, config_file=False, include=paths)
        recorder = _Recorder(cover)
        self._session.config.pluginmanager.register(recorder)
        cover.start()
        self.tests(names, first=False)
        cover.stop()
        lines = [
            (path, line, sorted({name for name in found if name} - recorder.failed))
            for path in paths
            for line, found in cover.get_data().contexts_by_lineno(path).items()
        ]
        result = {
            "seconds": recorder.seconds,
            "failed": sorted(recorder.failed),
            "lines": [(str(Path(path).relative_to(ROOT)), *rest) for path, *rest in lines],
        }
        Path(out).write_text(json.dumps(result))
        return 0


class _Recorder:
    """A pytest plugin: seconds of each test, failures, and coverage by test."""

    def __init__(self, cover: coverage.Coverage) -> None:
        self._cover = cover
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Whatever runs from now on is run by this test."""
        self._cover.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up set-up, call and teardown."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)


def _ended(running: dict[int, tuple[Any, float]]) -> Iterator[tuple[int, int | None]]:
    """Wait for a moment; yield the forks that have ended, and kill those that take too long."""
    time.sleep(0.01)
    for pid, (_, limit) in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended and time.monotonic() > limit:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            yield pid, None
        elif ended:
            yield pid, os.waitstatus_to_exitcode(status)


def _trial(
    forks: Forks, mutant: Mutant, names: list[str], known: dict[Key, list[FunctionType]]
) -> Callable[[], int]:
    """Return what the fork for a mutant does."""
    path = ROOT / mutant.path

    def run() -> int:
        codes = mutated(str(path), path.read_text(), mutant.mutation.index)
        try:
            loaded = replace(codes, known)
        except ValueError:
            return NOT_LOADED
        return forks.tests(names) if loaded else NOT_LOADED

    return run


def _tests(mutant: Mutant, covered: Covered, again: bool) -> tuple[list[str], float]:
    """Return tests of the folder that run the line, and how long they take.

    One of each function comes first, fastest first, and then one more of each. ``again``: those
    that do not fit into the first budget.
    """
    found = covered.lines.get((mutant.path, mutant.mutation.line), [])
    names = [name for name in found if name.startswith(mutant.folder + "/")]
    rounds: Counter[str] = Counter()
    ranked = []
    for name in sorted(names, key=lambda name: (covered.seconds[name], name)):
        function = name.partition("[")[0]
        ranked.append((rounds[function], len(ranked), name))
        rounds[function] += 1
    order = [name for _, _, name in sorted(ranked)]
    first = _fitting(order, covered.seconds, BUDGETS[0])
    chosen = _fitting(order[len(first) :], covered.seconds, BUDGETS[1]) if again else first
    return chosen, sum(covered.seconds[name] for name in chosen)


def _fitting(names: Sequence[str], seconds: dict[str, float], budget: float) -> list[str]:
    """Return the first of ``names``, as many as fit into ``budget``, but at least one."""
    total = 0.0
    for number, name in enumerate(names):
        if number and total > budget:
            return list(names[:number])
        total += seconds[name]
    return list(names)
