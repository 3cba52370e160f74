"""The bench's arithmetic and its table; running it is not a test."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import chosen
from tests.bench.measure import Result, Sample, _brief, _ratio, _summary
from tests.bench.report import header, table
from tests.bench.scenarios import SCENARIOS


def samples(*figures):
    return [Sample(figure, 1000.0, 5.0, 9.0, 10_000_000, 1) for figure in figures]


def test_medians_spread_and_ratio():
    ours = _summary("lbproxy", samples(30.0, 10.0, 20.0))
    assert (ours.figure, ours.spread, ours.errors, ours.runs) == (20.0, 1.0, 3, 3)
    rivals = [_summary("haproxy", samples(40.0)), _summary("nginx", samples(16.0))]
    assert _ratio((ours, *rivals)) == 1.25
    assert _ratio((ours,)) == 0.0


def test_table():
    ours, rival = _summary("lbproxy", samples(20.0)), _summary("haproxy", samples(10.0))
    result = Result("x", "request", "us/request", (ours, rival), ("nginx: not here",), 2.0)
    first, _, second, _, missing = table(result).splitlines()
    assert first.split()[-1] == header().split()[-1].replace("ratio", "2.00")
    assert "2.00" not in second
    assert missing == "    x: without nginx: not here"


def test_choice(monkeypatch):
    monkeypatch.setenv("SCENARIO", "tcp-rr-*, idle-10k")
    assert chosen("SCENARIO", list(SCENARIOS)) == [
        "tcp-rr-1",
        "tcp-rr-50",
        "tcp-rr-1000",
        "idle-10k",
    ]
    monkeypatch.setenv("SCENARIO", "nosuch")
    with pytest.raises(SystemExit, match="there are: http-get"):
        chosen("SCENARIO", list(SCENARIOS))


def test_a_failure_is_told_in_one_line():
    assert _brief(RuntimeError("x did nothing:\nTraceback\n  File\nOSError: no\n")) == (
        "x did nothing: ... OSError: no"
    )
    assert _brief(OSError()) == "OSError"
    assert len(_brief(RuntimeError("y" * 1000))) == 160
