"""PostgreSQL's primary dies, hangs or is demoted under load: who gets the writes, and what is lost.

The configuration is ``docs/examples/postgresql.ini``, with the addresses of the servers here.
Replication is synchronous (``remote_apply``), for only then PostgreSQL itself promises that what it
has acknowledged survives.

Two loads at once: pgbench, with sessions that it keeps and with one for every transaction, and our
own writers, which also learn from each answer which server gave it.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.live.pgbench import RUNS, TABLES, PgBench
from tests.live.writers import Writers
from tests.support.databases import Postgres
from tests.support.ports import free_ports
from tests.support.process import until
from tests.support.servers import program

pg8000 = pytest.importorskip("pg8000.native")

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-failover-databases")]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "postgresql.ini"
HBA = "host all lb 127.0.0.1/32 scram-sha-256\n"
SYNCHRONOUS = {"synchronous_commit": "remote_apply", "synchronous_standby_names": "*"}
LATE = 1.0  # so much later than it came a busy pgbench may read and log an answer, in seconds
SECRET = "w" * 30
TABLE = "create table t (writer int, number int, port int, primary key (writer, number))"


@pytest.fixture
def transport() -> str:
    """Which one moves the bytes makes no difference here."""
    return "epoll"


@frozen
class Load:
    """Everybody who writes."""

    cluster: Cluster
    writers: Writers
    kept: PgBench
    fresh: PgBench

    def more(self, primary: Postgres, count: int = 100) -> None:
        """Wait until the writers had so many more acknowledged, and ``primary`` so many more from
        each pgbench.
        """
        for bench in (self.kept, self.fresh):
            bench.more(primary, count)
        self.writers.more(count)

    def judge(self, record: Any, name: str, promoting: float) -> None:
        """Nothing is lost; ``db1`` acknowledged nothing once ``db2`` was being promoted, and
        ``db2`` nothing before.
        """
        old, new = self.cluster.db1, self.cluster.db2
        self.cluster.nothing_is_lost(self.writers, new)
        for bench, kind in ((self.kept, "pgbench"), (self.fresh, "pgbench -C")):
            times = bench.times_by(new)
            assert set(times) == {old.port, new.port}, "traffic moved, and to nobody else"
            assert times[old.port][1] < promoting + LATE, times
            assert times[new.port][0] > promoting, times
            print(f"{kind}: {len(bench.acknowledged)} transactions, {len(bench.statuses)} runs")
            report(record, f"{kind}: without writes after {name}", bench.gap())
            assert bench.gap() < 20


class Cluster:
    """A primary, a replica, lbproxy before them; ``write_port`` and ``read_port`` are lbproxy's."""

    def __init__(self, folder: Path, balancer: Any, stack: ExitStack) -> None:
        self.folder = folder
        binaries = Path(program("initdb")).resolve().parent
        self.db1 = Postgres(binaries, folder / "db1", hba=HBA).start()
        stack.callback(stop, self.db1)
        self.db1.query(f"create role lb login password '{SECRET}'")
        self.db1.query(TABLE)
        self.db1.query(TABLES)
        self.db2 = Postgres(binaries, folder / "db2", source=self.db1).start()
        stack.callback(stop, self.db2)
        self.db1.stop()
        self.db1.settings.update(SYNCHRONOUS)
        self.db1.start()
        assert until(lambda: self.db1.query("select sync_state from pg_stat_replication") == "sync")
        self.write_port, self.read_port = free_ports(2)
        self.lb = balancer(self._config(folder))
        self.lb.wait_output("server primary/db1 is up: primary, timeline 1 (1 check passed)")
        self.lb.wait_output("server primary/db2 is down: it is a replica (1 failure)")
        self.lb.wait_output("server replicas/db1 is down: it is a primary (1 failure)")

    def _config(self, folder: Path) -> str:
        secret = folder / "secret"
        secret.write_text(f"{SECRET}\n")
        text = EXAMPLE.read_text()
        for old, new in (
            ("tcp:5432:interface", f"tcp:{self.write_port}:interface"),
            ("tcp:5433:interface", f"tcp:{self.read_port}:interface"),
            ("10.0.0.21:5432", self.db1.address),
            ("10.0.0.22:5432", self.db2.address),
            ("secrets/lb", str(secret)),
        ):
            assert old in text
            text = text.replace(old, new)
        return re.sub(r"^ +db3 .*\n", "", text, flags=re.MULTILINE)

    def connect(self, port: int = 0) -> Any:
        return pg8000.Connection(
            "postgres", host="127.0.0.1", port=port or self.write_port, timeout=60
        )

    def insert(self, connection: Any, writer: int, number: int) -> Any:
        sql = "insert into t values (:w, :n, inet_server_port()) returning port"
        return connection.run(sql, w=writer, n=number)[0][0]

    @contextmanager
    def load(self) -> Iterator[Load]:
        """pgbench and our writers, until the block is left."""
        binary = program("pgbench")
        kept = PgBench(binary, self.write_port, self.folder / "kept", first_run=0)
        fresh = PgBench(
            binary, self.write_port, self.folder / "fresh", "-C", clients=2, first_run=RUNS
        )
        with kept, fresh, Writers(self.connect, self.insert) as writers:
            yield Load(self, writers, kept, fresh)

    def nothing_is_lost(self, writers: Writers, primary: Postgres) -> None:
        """Every acknowledged row is there, written by the server that acknowledged it."""
        rows = primary.query("select writer || ' ' || number || ' ' || port from t").splitlines()
        found = {(int(w), int(n)): int(port) for w, n, port in map(str.split, rows)}
        lost = {key for key, (_, port) in writers.acknowledged.items() if found.get(key) != port}
        assert not lost
        assert len(writers.acknowledged) > 300


@pytest.fixture
def cluster(live_folder: Path, tmp_path: Path, balancer: Any) -> Iterator[Cluster]:
    folder = live_folder / f"failover-{tmp_path.name}"
    folder.mkdir()
    with ExitStack() as stack:
        yield Cluster(folder, balancer, stack)


def stop(server: Postgres) -> None:
    """Whatever state it is in; nobody needs its data."""
    if server.child is not None:
        server.signal(signal.SIGCONT)
        server.child.stop(signal.SIGQUIT)


def report(record: Any, name: str, seconds: float) -> None:
    record(name, round(seconds, 2))
    print(f"{name}: {seconds:.2f} s")


def test_a_killed_primary(cluster: Cluster, record_property: Any) -> None:
    with cluster.load() as load:
        load.more(cluster.db1)
        cluster.db1.kill()
        promoting = time.time()
        cluster.db2.promote()
        promoted = time.monotonic()
        load.more(cluster.db2)
        taken = load.writers.first_after(promoted)
        load.more(cluster.db2, 200)
    report(record_property, "without writes after kill -9", load.writers.gap())
    report(record_property, "from promotion to the first write", taken)
    load.judge(record_property, "kill -9", promoting)
    output = cluster.lb.output()
    assert "server primary/db2 is up: primary, timeline 2" in output
    ports = {port for _, port in load.writers.acknowledged.values()}
    assert ports == {cluster.db1.port, cluster.db2.port}
    assert load.writers.gap() < 20
    for bench in (load.kept, load.fresh):
        assert "read-only" not in bench.output(), "a replica was asked to write"


def test_a_primary_that_hangs_and_wakes_up(cluster: Cluster, record_property: Any) -> None:
    with cluster.load() as load:
        load.more(cluster.db1)
        cluster.db1.signal(signal.SIGSTOP)
        cluster.lb.wait_output("server primary/db1 is down: no answer in 0.9 s")
        promoting = time.time()
        cluster.db2.promote()
        load.more(cluster.db2)
        cluster.db1.signal(signal.SIGCONT)
        assert until(lambda: cluster.db1.query("select pg_is_in_recovery()") == "f")
        seen = len(cluster.lb.wait_records(1))
        time.sleep(4)  # four checks: it would be up again, were it believed
        load.more(cluster.db2)
    report(record_property, "without writes after SIGSTOP", load.writers.gap())
    load.judge(record_property, "SIGSTOP", promoting)
    output = cluster.lb.output()
    assert output.count("server primary/db1 is up") == 1
    closed = cluster.lb.wait_records(1, close="server_down")
    assert {record["server"] for record in closed} == {"db1"}
    records = [r for r in cluster.lb.records()[seen:] if r["server"]]
    assert {r["server"] for r in records} <= {"db2"}, "nobody was sent to the old primary"
    count = "select count(*) from t"
    assert int(cluster.db1.query(count)) < int(cluster.db2.query(count))
    for bench in (load.kept, load.fresh):
        assert "read-only" not in bench.output(), "a replica was asked to write"


def test_a_demoted_primary(cluster: Cluster, record_property: Any) -> None:
    with cluster.load() as load:
        load.more(cluster.db1)
        session = cluster.connect()
        session.run("begin")
        session.run("insert into t values (-1, 0, inet_server_port())")
        demoted = time.monotonic()
        cluster.db1.query("alter system set default_transaction_read_only = on")
        cluster.db1.query("select pg_reload_conf()")
        cluster.lb.wait_output(
            "server primary/db1 is down: it is read only, though not a replica (1 f"
        )
        noticed = time.monotonic() - demoted
        with pytest.raises(Exception, match=r"(?i)closed|network|reset|unpack|eof"):
            session.run("commit")
        closed = time.monotonic() - demoted
        promoting = time.time()
        cluster.db2.promote()
        promoted = time.monotonic()
        load.more(cluster.db2)
        taken = load.writers.first_after(promoted)
        cluster.db1.query("alter system reset default_transaction_read_only")
        cluster.db1.stop()
        cluster.db1.settings.clear()
        cluster.db1.follow(cluster.db2)
        cluster.db1.start()
        cluster.lb.wait_output("server replicas/db1 is up")
        load.more(cluster.db2, 200)
    report(record_property, "from demotion until its sessions are closed", closed)
    report(record_property, "from promotion to the first write", taken)
    assert load.writers.last_by(cluster.db1.port) <= demoted + noticed
    load.judge(record_property, "demotion", promoting)
    assert cluster.db2.query("select count(*) from t where writer = -1") == "0"
    assert noticed < 1 + 2, "an interval, and some time for a busy machine"
    assert taken < 2 + 2, "two intervals"
    assert cluster.lb.output().count("server primary/db1 is up") == 1


def test_new_sessions_wait_while_there_is_no_primary(cluster: Cluster) -> None:
    cluster.db1.kill()
    cluster.lb.wait_output("server primary/db1 is down")
    waiting = [socket.create_connection(("127.0.0.1", cluster.write_port)) for _ in range(3)]
    begun = time.monotonic()
    waiting[0].close()
    cluster.db2.promote()
    with cluster.connect() as connection:
        assert connection.run("select pg_is_in_recovery()") == [[False]]
    assert time.monotonic() - begun > 0.2
    for sock in waiting[1:]:
        sock.close()

    def waited() -> bool:
        records = cluster.lb.records()
        return any(r["server"] == "db2" and (r["queue_ms"] or 0) > 100 for r in records)

    assert until(waited), cluster.lb.records()


def test_readers_go_to_the_replica(cluster: Cluster) -> None:
    with cluster.connect(cluster.read_port) as connection:
        assert connection.run("select pg_is_in_recovery(), inet_server_port()") == [
            [True, cluster.db2.port]
        ]
        with pytest.raises(Exception, match="read-only"):
            connection.run("insert into t values (0, 0, 0)")
