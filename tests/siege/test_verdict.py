"""The bounds of a siege."""

from __future__ import annotations

from attrs import evolve

from tests.siege.verdict import Outcome, faults

CALM = Outcome(
    quiet=6.0, p50=1.0, p99=9.0, requests=300, failed=0, rest=60.0, peak=64.0, after=61.0
)


def test_a_calm_siege() -> None:
    assert faults({"lbproxy": CALM}) == []


def test_failures_and_an_end_are_faults() -> None:
    assert faults({"lbproxy": evolve(CALM, failed=1)})
    assert faults({"lbproxy": evolve(CALM, requests=0)})
    assert faults({"lbproxy": evolve(CALM, alive=False)})


def test_latency_is_measured_by_quiet_times_and_the_better_rival() -> None:
    slow = evolve(CALM, p99=19.0)
    assert faults({"lbproxy": slow})
    assert not faults({"lbproxy": slow, "haproxy": evolve(CALM, p99=13.0)})
    better = {"haproxy": evolve(CALM, p99=13.0), "nginx": evolve(CALM, p99=12.0)}
    assert faults({"lbproxy": slow, **better})
    assert faults({"lbproxy": slow, "nginx": evolve(CALM, p99=500.0, failed=3)})
    assert not faults({"lbproxy": evolve(CALM, quiet=0.4, p99=14.0)})


def test_memory() -> None:
    grown = evolve(CALM, peak=90.0, after=61.0)
    haproxy = evolve(CALM, rest=20.0, peak=22.0, after=20.0)
    assert faults({"lbproxy": grown, "haproxy": haproxy})
    assert not faults({"lbproxy": grown, "haproxy": evolve(haproxy, peak=32.0)})
    assert not faults({"lbproxy": grown})
    assert faults({"lbproxy": evolve(grown, after=90.0)})
