"""MariaDB with GTID replication: the primary is made read only, then dies; the replica takes over.

The configuration is ``docs/examples/mariadb.ini``, with the addresses of the servers here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.writers import Writers
from tests.support.mariadb import MariaDB
from tests.support.ports import free_ports
from tests.support.process import until
from tests.support.servers import program

pymysql = pytest.importorskip("pymysql")

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-failover-databases")]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "mariadb.ini"
SECRET = "w" * 30
USERS = f"""
CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1';
CREATE USER lb@'127.0.0.1' IDENTIFIED BY '{SECRET}'; GRANT SLAVE MONITOR ON *.* TO lb@'127.0.0.1';
CREATE USER app@'127.0.0.1' IDENTIFIED BY 'app';
CREATE DATABASE app; GRANT ALL ON app.* TO app@'127.0.0.1';
CREATE TABLE app.t (writer INT, number INT, server INT, PRIMARY KEY (writer, number));
"""


@pytest.fixture
def transport() -> str:
    """Which one moves the bytes makes no difference here."""
    return "epoll"


class Pair:
    """A primary, a replica, lbproxy before them; ``write_port`` and ``read_port`` are lbproxy's."""

    def __init__(self, folder: Path, installed: MariaDB, balancer: Any, stack: ExitStack) -> None:
        semi = ["--read-only=1", "--rpl-semi-sync-master-enabled=1"]
        semi += ["--rpl-semi-sync-slave-enabled=1", "--rpl-semi-sync-master-wait-point=AFTER_SYNC"]
        self.one, self.two = (
            MariaDB(installed.binary, folder / f"db{n}", n, options=semi, like=installed)
            for n in (1, 2)
        )
        for server in (self.one, self.two):
            stack.callback(server.kill)
            server.start()
        wait = "SET GLOBAL rpl_semi_sync_master_timeout = {}"  # milliseconds
        for server in (self.one, self.two):
            server.query(wait.format(1))  # nobody acknowledges the first commits
        self.two.follow(self.one)
        self.one.query(USERS)
        self.one.query("SET GLOBAL read_only = 0")
        self.in_step()
        for server in (self.one, self.two):
            server.query(wait.format(10_000))  # as it was
        assert until(lambda: self.clients() == "1")
        self.write_port, self.read_port = free_ports(2)
        secret = folder / "secret"
        secret.write_text(f"{SECRET}\n")
        text = EXAMPLE.read_text()
        for old, new in (
            ("tcp:3306:interface", f"tcp:{self.write_port}:interface"),
            ("tcp:3307:interface", f"tcp:{self.read_port}:interface"),
            ("10.0.0.21:3306", self.one.address),
            ("10.0.0.22:3306", self.two.address),
            ("secrets/lb", str(secret)),
        ):
            assert old in text
            text = text.replace(old, new)
        self.lb = balancer(text)
        self.lb.wait_output("server primary/db1 is up: primary (1 check passed)")
        self.lb.wait_output("server primary/db2 is down: it is read only (1 failure)")
        self.lb.wait_output("server replicas/db1 is down: it is not read only (1 failure)")

    def in_step(self) -> None:
        """Wait until the replica has done all that the primary has."""
        position = self.one.query("SELECT @@gtid_binlog_pos")
        assert self.two.query(f"SELECT MASTER_GTID_WAIT('{position}', 30)") == "0"

    def clients(self) -> str:
        """How many replicas acknowledge commits."""
        return self.one.query("SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'").split("\t")[1]

    def connect(self, port: int = 0) -> Any:
        return pymysql.connect(
            host="127.0.0.1", port=port or self.write_port, user="app", password="app",
            database="app", autocommit=True, connect_timeout=60, read_timeout=60,
        )  # fmt: skip

    def insert(self, connection: Any, writer: int, number: int) -> Any:
        sql = "INSERT INTO t VALUES (%s, %s, @@server_id) RETURNING server"
        with connection.cursor() as cursor:
            cursor.execute(sql, (writer, number))
            return cursor.fetchone()[0]

    def nothing_is_lost(self, writers: Writers) -> None:
        rows = self.two.query("SELECT writer, number, server FROM app.t").splitlines()
        found = {(int(w), int(n)): int(server) for w, n, server in map(str.split, rows)}
        assert len(writers.acknowledged) > 200
        assert not {
            key for key, (_, server) in writers.acknowledged.items() if found.get(key) != server
        }


@pytest.fixture(scope="module")
def installed(live_folder: Path) -> MariaDB:
    """The files of a new server."""
    return MariaDB(program("mariadbd"), live_folder / "mariadb-installed", 0)


@pytest.fixture
def pair(live_folder: Path, tmp_path: Path, installed: MariaDB, balancer: Any) -> Iterator[Pair]:
    folder = live_folder / f"mariadb-{tmp_path.name}"
    folder.mkdir()
    with ExitStack() as stack:
        yield Pair(folder, installed, balancer, stack)


def test_a_switch_by_read_only(pair: Pair, record_property: Any) -> None:
    with Writers(pair.connect, pair.insert) as writers:
        writers.more()
        session = pair.connect()
        with session.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO t VALUES (-1, 0, 0)")
            demoted = time.monotonic()
            pair.one.query("SET GLOBAL read_only = 1")
            pair.lb.wait_output("server primary/db1 is down: it is read only (1 failure)")
            with pytest.raises(pymysql.err.OperationalError):
                cursor.execute("COMMIT")
        closed = time.monotonic() - demoted
        pair.in_step()
        pair.two.query("STOP SLAVE; SET GLOBAL read_only = 0")
        promoted = time.monotonic()
        writers.more()
        taken = writers.first_after(promoted)
        pair.one.follow(pair.two)
        pair.lb.wait_output("server replicas/db1 is up: replica")
        writers.more()
    record_property("from promotion to the first write", round(taken, 2))
    print(f"closed {closed:.2f} s, first write {taken:.2f} s, without {writers.gap():.2f} s")
    pair.nothing_is_lost(writers)
    assert pair.two.query("SELECT COUNT(*) FROM app.t WHERE writer = -1") == "0"
    assert closed < 1 + 2, "an interval"
    assert taken < 2 + 2, "two intervals"
    assert pair.lb.output().count("server primary/db1 is up") == 1
    with pair.connect(pair.read_port) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT @@server_id")
        assert cursor.fetchone() == (1,)


def test_a_killed_primary(pair: Pair, record_property: Any) -> None:
    """Semi-synchronous replication: what was acknowledged is in the replica's relay log."""
    with Writers(pair.connect, pair.insert) as writers:
        writers.more()
        pair.one.kill()
        pair.lb.wait_output("server primary/db1 is down")
        assert until(lambda: "has read all relay log" in pair.two.query("SHOW SLAVE STATUS"))
        pair.two.query("STOP SLAVE; SET GLOBAL read_only = 0")
        writers.more()
        pair.one.start()  # as its configuration file says: read only
        time.sleep(3)
        writers.more()
    record_property("without writes", round(writers.gap(), 2))
    print(f"{writers.gap():.2f} s without writes")
    pair.nothing_is_lost(writers)
    assert pair.lb.output().count("server primary/db1 is up") == 1
