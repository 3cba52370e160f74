"""Events, heads, written bytes and log lines of the compiled modules are those of the sources."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lbproxy import compiled
from tests.differential.inputs import inputs
from tests.differential.outcome import Input, outcome

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 600


def uncompiled(given: list[Input]) -> list[Any]:
    """The outcomes in an interpreter that runs the sources."""
    env = {**os.environ, compiled.VARIABLE: "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.differential"]
    done = subprocess.run(
        command, input=pickle.dumps(given), capture_output=True, env=env, cwd=ROOT, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    engine, found = pickle.loads(done.stdout)
    assert engine.startswith("pure Python"), engine
    return list(found)


def compare(number: int) -> None:
    given = inputs(number)
    kinds = Counter(one[0] for one in given)
    assert set(kinds) == {"requests", "responses", "edits", "traffic"}
    found = uncompiled(given)
    assert len(found) == len(given)
    for one, expected in zip(given, found, strict=True):
        assert outcome(one) == expected, one


@pytest.mark.compiled
def test_both_engines_do_the_same() -> None:
    compare(60)


@pytest.mark.long
@pytest.mark.compiled
def test_both_engines_do_the_same_with_many_inputs() -> None:
    compare(5000)


def test_outcomes_tell_inputs_apart() -> None:
    """The comparison would be worth nothing if outcomes were all alike."""
    found = [repr(outcome(one)) for one in inputs(5)[-15:]]
    assert len(set(found)) > 7
