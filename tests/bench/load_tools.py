"""Load by the databases' own tools, through a TCP frontend: redis-benchmark and pgbench."""

from __future__ import annotations

import csv
import re

from tests.bench.load import Load, run_tool, tool

__all__ = ["pgbench", "redis"]


def _redis(port: int, count: int, options: list[str]) -> Load:
    command = [tool("redis-benchmark"), "-h", "127.0.0.1", "-p", str(port), "--csv"]
    output = run_tool([*command, "-n", str(count), *options], timeout=300)
    lines = [line for line in output.splitlines() if line.startswith('"')]
    row = dict(zip(*csv.reader(lines[-2:]), strict=True))
    rate = float(row["rps"])
    return Load(
        count,
        count / rate,
        float(row["p50_latency_ms"]) * 1000,
        float(row["p99_latency_ms"]) * 1000,
    )


def redis(
    port: int,
    seconds: float,
    *,
    connections: int = 50,
    test: str = "ping_mbulk",
    reconnect: bool = False,
    pipeline: int = 1,
    size: int = 3,
) -> Load:
    """Round trips for about ``seconds``; ``reconnect``: a new connection for each."""
    options = ["-c", str(connections), "-t", test, "-k", "0" if reconnect else "1"]
    options += ["-P", str(pipeline), "-d", str(size)]
    trial = _redis(port, max(1000, connections * 2), options)
    rate = trial.done / trial.seconds
    run = _redis(port, max(1000, connections * 2, int(rate * seconds)), options)
    # the proxy worked for the trial too
    return Load(run.done + trial.done, run.seconds + trial.seconds, run.p50_us, run.p99_us)


def pgbench(port: int, seconds: float, *, clients: int = 8) -> Load:
    """Selects by primary key, prepared."""
    whole = max(1, round(seconds))
    command = [tool("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-n", "-S"]
    command += ["-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(whole), "postgres"]
    output = run_tool(command, whole + 60)
    count = re.search(r"transactions actually processed: (\d+)", output)
    average = re.search(r"latency average = ([\d.]+) ms", output)
    if count is None or average is None:
        raise RuntimeError(output)
    return Load(int(count[1]), whole, float(average[1]) * 1000)
