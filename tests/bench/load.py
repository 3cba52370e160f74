"""What every load generator gives back, and the ways to run a tool."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from attrs import frozen

from tests.support.process import find_binary

__all__ = ["Load", "MissingTool", "run_tool", "tool"]


class MissingTool(Exception):
    """A program that a scenario needs is not installed."""


@frozen
class Load:
    """One run: how much was done (requests, connections, transactions or GB), in how many seconds.

    Latencies are in microseconds, 0 if the tool does not report them.  ``value``: for scenarios
    that measure something other than CPU time (bytes per connection).  ``late_us``: a generator
    with a fixed rate sent 99% of requests no later than this after they were due.
    """

    done: float
    seconds: float
    p50_us: float = 0.0
    p99_us: float = 0.0
    errors: int = 0
    value: float = 0.0
    late_us: float = 0.0


def tool(name: str) -> str:
    """The path of a program; MissingTool."""
    path = find_binary(name)
    if path is None:
        raise MissingTool(name)
    return path


def run_tool(command: Sequence[str], timeout: float) -> str:
    """Run it (on the load's cores, which we are pinned to ourselves); its output."""
    done = subprocess.run(
        list(command), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
