"""One scenario, measured: every proxy gets the same load in turn, round after round."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from subprocess import TimeoutExpired
from typing import Any

from attrs import asdict, frozen

from tests.bench.lab import Lab
from tests.bench.load import MissingTool
from tests.bench.proxies import PROXIES, NotMeant, Proxy, Unavailable
from tests.bench.scenarios import Scenario
from tests.support.process import NotReady

__all__ = ["Result", "Sample", "Summary", "measure"]

FAILURES = (Unavailable, MissingTool, NotReady, RuntimeError, OSError, TimeoutExpired)
"""What costs a proxy its row, with the reason in its place, and not the whole bench."""


@frozen
class Sample:
    """One run of one proxy.  ``figure``: what the scenario measures, lower is better.

    ``late_us``: 99% of requests were sent no later than this after they were due.
    """

    figure: float
    rate: float
    p50_us: float
    p99_us: float
    peak_rss_bytes: int
    errors: int
    late_us: float = 0.0


@frozen
class Summary:
    """The medians of a proxy's runs; ``spread``: (highest - lowest) / median of its figure."""

    proxy: str
    figure: float
    spread: float
    rate: float
    p50_us: float
    p99_us: float
    peak_rss_bytes: int
    errors: int
    runs: int
    late_us: float = 0.0


@frozen
class Result:
    """A scenario's outcome.

    ``ratio``: lbproxy's figure divided by the best rival's; 0 if either is missing.
    """

    scenario: str
    unit: str
    measure_unit: str
    summaries: tuple[Summary, ...]
    missing: tuple[str, ...]
    ratio: float
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)


def measure(
    scenario: Scenario, lab: Lab, *, rounds: int, seconds: float, say: Callable[[str], None]
) -> Result:
    """Run ``rounds`` interleaved rounds of ``seconds`` each."""
    missing: list[str] = []
    samples: dict[str, list[Sample]] = {}
    running: dict[str, Proxy] = {}
    try:
        for name in PROXIES:
            try:
                running[name] = _launch(scenario, lab, name)
                if scenario.prepare is not None:
                    scenario.prepare(running[name])
                if not scenario.fresh:
                    scenario.load(running[name], min(1.0, seconds))  # warm up
            except NotMeant:
                continue
            except FAILURES as error:
                missing.append(f"{name}: {_brief(error)}")
        for number in range(rounds):
            for name in list(running):
                say(f"{scenario.name}: round {number + 1}/{rounds}: {name}")
                try:
                    if scenario.fresh and number:
                        running[name].stop()
                        running[name] = _launch(scenario, lab, name)
                    sample = _sample(scenario, running[name], seconds)
                except FAILURES as error:
                    missing.append(f"{name}: {_brief(error)}")
                    running.pop(name).stop()
                else:
                    samples.setdefault(name, []).append(sample)
    finally:
        for proxy in running.values():
            proxy.stop()
    summaries = tuple(_summary(name, runs) for name, runs in samples.items())
    return Result(
        scenario.name,
        scenario.unit,
        scenario.measure_unit,
        summaries,
        tuple(missing),
        _ratio(summaries),
        scenario.note,
    )


def _brief(error: Exception) -> str:
    """Where it says what went wrong: its first line, and the last of a long output."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ends = [lines[0], *lines[-1:]] if len(lines) > 1 else lines
    return " ... ".join(line[:160] for line in ends) or type(error).__name__


def _launch(scenario: Scenario, lab: Lab, name: str) -> Proxy:
    return PROXIES[name](scenario.job(lab), lab.folder / scenario.name / name)


def _sample(scenario: Scenario, proxy: Proxy, seconds: float) -> Sample:
    before = proxy.child.cpu_seconds()
    load = scenario.load(proxy, seconds)
    cpu = proxy.child.cpu_seconds() - before
    if not proxy.child.alive:
        raise RuntimeError(f"{proxy.name} died:\n{proxy.child.output()}")
    if not load.done:
        raise RuntimeError(f"{proxy.name} did nothing:\n{proxy.child.output()}")
    return Sample(
        figure=load.value if scenario.measure == "value" else cpu * 1e6 / load.done,
        rate=load.done / load.seconds,
        p50_us=load.p50_us,
        p99_us=load.p99_us,
        peak_rss_bytes=proxy.child.rss_bytes(peak=True),
        errors=load.errors,
        late_us=load.late_us,
    )


def _summary(name: str, runs: list[Sample]) -> Summary:
    figures = [run.figure for run in runs]
    middle = median(figures)
    return Summary(
        proxy=name,
        figure=middle,
        spread=(max(figures) - min(figures)) / middle if middle else 0.0,
        rate=median(run.rate for run in runs),
        p50_us=median(run.p50_us for run in runs),
        p99_us=median(run.p99_us for run in runs),
        peak_rss_bytes=max(run.peak_rss_bytes for run in runs),
        errors=sum(run.errors for run in runs),
        runs=len(runs),
        late_us=median(run.late_us for run in runs),
    )


def _ratio(summaries: tuple[Summary, ...]) -> float:
    ours = [s.figure for s in summaries if s.proxy == "lbproxy"]
    rivals = [s.figure for s in summaries if s.proxy != "lbproxy" and s.figure > 0]
    return ours[0] / min(rivals) if ours and rivals else 0.0
