"""``pgbench`` as the load of a failover: started again when its sessions break, and every
transaction accounted for.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.databases import Postgres
from tests.support.process import until

__all__ = ["RUNS", "TABLES", "PgBench"]

TABLES = """
create table bench (run int, client int, number int, port int, primary key (run, client, number));
create table bench_last (run int, client int, number int, primary key (run, client));
"""
SCRIPT = r"""
\set number :number + 1
begin;
insert into bench values (:run, :client_id, :number, inet_server_port());
insert into bench_last values (:run, :client_id, :number)
    on conflict (run, client) do update set number = excluded.number;
end;
"""
FOREVER = "600"
PATIENCE_S = 60.0
RUNS = 1_000_000


class PgBench:
    """Runs of pgbench against ``port``, one after the other, until the block is left.

    A client of pgbench gives up when its session breaks; the log of transactions (``-l``) has a
    line for each that was acknowledged to it, in order, and each client counts from 1. So a client
    with K lines has 1 to K acknowledged, and K + 1 may or may not have been done. ``options``:
    ``-C`` for a connection for every transaction. ``first_run``: two loads on the same tables have
    numbers of runs at least RUNS apart.
    """

    def __init__(
        self, binary: str, port: int, folder: Path, *options: str, clients: int = 4, first_run: int
    ) -> None:
        folder.mkdir()
        self._folder = folder
        script = folder / "script.sql"
        script.write_text(SCRIPT)
        self._command = [binary, "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-n", "-l"]
        self._command += ["-T", FOREVER, "-c", str(clients), "-f", str(script), "-D", "number=0"]
        self._command += options
        self._first_run = first_run
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._loop)
        self.statuses: list[int] = []
        self.acknowledged: dict[tuple[int, int, int], float] = {}
        """(run, client, number): when it was acknowledged (time.time), once the block was left."""

    def __enter__(self) -> PgBench:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Each client ends after the transaction it is in."""
        self._over.set()
        deadline = time.monotonic() + PATIENCE_S
        while self._thread.is_alive():
            late = time.monotonic() > deadline
            if self._process is not None:
                # SIGALRM: the time of -T is over
                self._process.send_signal(signal.SIGKILL if late else signal.SIGALRM)
            self._thread.join(0.1)
        assert time.monotonic() < deadline, self.output()[-2000:]
        for path in self._folder.glob("log-*"):
            run = int(path.name.split("-")[1].split(".")[0])
            count: Counter[int] = Counter()
            for line in path.read_text().splitlines():
                client, _, latency, _, seconds, micros = line.split()[:6]
                assert latency.isdigit(), f"a failed transaction: {line}"
                count[int(client)] += 1
                key = run, int(client), count[int(client)]
                self.acknowledged[key] = int(seconds) + int(micros) / 1e6

    def more(self, primary: Postgres, count: int = 100, timeout: float = 60.0) -> None:
        """Wait until ``primary`` has so many more of our transactions."""

        def done() -> int:
            return int(primary.query(f"select count(*) from bench where {self._ours}"))

        goal = done() + count
        assert until(lambda: done() >= goal, timeout), self.output()[-2000:]

    def output(self) -> str:
        """All that was said by all runs."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("output-*")))

    def gap(self) -> float:
        """The longest time in which nothing was acknowledged, in seconds."""
        return max(b - a for a, b in pairwise(sorted(self.acknowledged.values())))

    def times_by(self, primary: Postgres) -> dict[int, tuple[float, float]]:
        """By the port of the server that did them: when the first and the last transaction was
        acknowledged.

        Fails unless ``primary`` has the whole of each acknowledged one, and at most one more of
        each client.
        """
        ports = {}
        for row in self._rows(primary, "select run, client, number, port from bench"):
            *key, port = row
            ports[tuple(key)] = port
        lost = self.acknowledged.keys() - ports.keys()
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} acknowledged are lost"
        last: dict[tuple[int, int], int] = {}
        for run, client, number in self.acknowledged:
            last[run, client] = max(number, last.get((run, client), 0))
        for run, client, number in ports.keys() - self.acknowledged.keys():
            assert number == last.get((run, client), 0) + 1, "nobody was told of it"
        done: dict[tuple[int, int], int] = {}
        for run, client, number in ports:
            done[run, client] = max(number, done.get((run, client), 0))
        rows = self._rows(primary, "select run, client, number from bench_last")
        assert {(run, client): number for run, client, number in rows} == done, "half a transaction"
        found: dict[int, list[float]] = {}
        for key, when in self.acknowledged.items():
            found.setdefault(ports[key], []).append(when)
        return {port: (min(times), max(times)) for port, times in found.items()}

    @property
    def _ours(self) -> str:
        return f"run >= {self._first_run} and run < {self._first_run} + {RUNS}"

    def _rows(self, primary: Postgres, sql: str) -> list[Any]:
        lines = primary.query(f"{sql} where {self._ours}").splitlines()
        return [tuple(map(int, line.split("|"))) for line in lines]

    def _loop(self) -> None:
        for run in itertools.count(self._first_run):
            if self._over.is_set():
                return
            log = ["--log-prefix", str(self._folder / f"log-{run}"), "-D", f"run={run}"]
            with (self._folder / f"output-{run:06}").open("wb") as out:
                self._process = subprocess.Popen(
                    [*self._command, *log, "postgres"], stdout=out, stderr=subprocess.STDOUT
                )
            self.statuses.append(self._process.wait())
            self._over.wait(0.01)
