"""The checks of databases against the real ones: every way to log in, TLS, and what the servers say
when it fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lbproxy.balance.live import LiveServer
from lbproxy.config.model import Address, ServerSpec
from lbproxy.health.state import Result
from lbproxy.interfaces import Env
from lbproxy.net.fast import FastNetwork
from lbproxy.net.stock import StockNetwork
from lbproxy.probes.base import ProbeTarget
from lbproxy.probes.memcached import MemcachedOptions, MemcachedProbe
from lbproxy.probes.mysql import MysqlOptions, MysqlProbe
from lbproxy.probes.pgsql import PgsqlOptions, PgsqlProbe
from lbproxy.probes.redis import RedisOptions, RedisProbe
from lbproxy.tls.contexts import ClientContextFactory
from lbproxy.tls.parameters import TLSParameters
from tests.support import tls
from tests.support.databases import Postgres, Redis
from tests.support.mariadb import MariaDB
from tests.support.ports import free_port
from tests.support.process import Child, accepts
from tests.support.reactor import run
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-check-logins")]

Check = Callable[..., Result]


@pytest.fixture(params=[StockNetwork, FastNetwork], ids=["twisted", "epoll"])
def check(request: pytest.FixtureRequest) -> Check:
    """Run a probe once: ``check(cls, options, port, tls)``."""

    def once(cls: Any, options: Any, where: Any, tls: Any = None) -> Result:
        async def scenario(reactor: Any) -> Result:
            address = Address("tcp", "127.0.0.1", where)
            if isinstance(where, Path):
                address = Address("unix", path=str(where))
            env = Env(now=reactor.seconds, random=Random(1), reactor=reactor)
            network = request.param(reactor)
            server = LiveServer("db", ServerSpec("a", target=address))
            target = ProbeTarget(server, network.dialler, address, tls, 10.0)
            return await cls(options, env).check(target)  # type: ignore[no-any-return]

        return run(scenario, strict=False)  # type: ignore[no-any-return]

    return once


def trusting(folder: Path, name: str = "db.test") -> TLSParameters:
    creator = ClientContextFactory(name, ca=tls.ca_file(folder))
    return TLSParameters(creator, server_side=False)


# -- PostgreSQL

HBA = """
host all scram 127.0.0.1/32 scram-sha-256
host all unicode 127.0.0.1/32 scram-sha-256
host all md5 127.0.0.1/32 md5
hostnossl all clear 127.0.0.1/32 password
hostssl all clear 127.0.0.1/32 password
hostssl all secure 127.0.0.1/32 scram-sha-256
hostnossl all secure 127.0.0.1/32 reject
host all barred 127.0.0.1/32 reject
"""


@pytest.fixture(scope="module")
def pg(live_folder: Path) -> Iterator[Postgres]:
    """PostgreSQL with TLS and users of every kind, whose password is "pw"."""
    folder = live_folder / "pg-logins"
    folder.mkdir()
    leaf = tls.issue("db.test")
    tls.write(leaf, folder, "server", both=False)
    key = folder / "server.key"
    key.chmod(0o600)
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(folder / "server.crt"),
        "ssl_key_file": str(key),
    }
    server = Postgres(
        Path(program("initdb")).resolve().parent, folder / "pg", hba=HBA, settings=settings
    )
    if os.geteuid() == 0:
        shutil.chown(key, "postgres", "postgres")
    server.start()
    for user in ("scram", "clear", "secure", "barred"):
        server.query(f"create role {user} login password 'pw'")
    server.query("create role trusted login")
    server.query("create role unicode login password 'p\u00e4ss\u2168w\u00f6rt'")
    server.query("set password_encryption = md5; create role md5 login password 'pw'")
    yield server
    server.stop()


@pytest.mark.parametrize("user", ["scram", "md5", "trusted"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_pgsql_logins(check: Check, pg: Postgres, tmp_path: Path, user: str, secure: bool) -> None:
    options = PgsqlOptions(
        user=user,
        password="pw",
        database="postgres",
        role="primary",
        query="select 'a' || 1",
        expect="a1",
    )
    result = check(PgsqlProbe, options, pg.port, trusting(tmp_path) if secure else None)
    assert (result.ok, result.note) == (True, "primary, timeline 1, the query gave 'a1'")


def test_pgsql_other_ways(check: Check, pg: Postgres, tmp_path: Path) -> None:
    def note(user: str, password: str = "pw", tls: Any = None, **more: Any) -> str:
        options = PgsqlOptions(user=user, password=password, database="postgres", **more)
        return check(PgsqlProbe, options, pg.port, tls).note

    assert note("unicode", "p\u00e4ssIXw\u00f6rt") == "logged in"
    assert note("clear") == "wants the password in the clear; use tls, or allow_cleartext"
    assert note("clear", allow_cleartext=True) == "logged in"
    assert note("clear", tls=trusting(tmp_path)) == "logged in"
    assert note("secure", tls=trusting(tmp_path)) == "logged in"
    assert note("secure").startswith("FATAL 28000: pg_hba.conf rejects")
    assert note("barred").startswith("FATAL 28000: pg_hba.conf rejects")
    assert note("scram", "wrong") == 'FATAL 28P01: password authentication failed for user "scram"'
    assert note("scram", "") == "wants a password, and the check has none"
    assert note("nobody").startswith("FATAL 28000: ")
    assert note("trusted", role="replica") == "it is a primary"
    assert note("trusted", query="select 1/0") == "ERROR 22012: division by zero"
    assert note("trusted", query="copy (select 1) to stdout") == "the query wants to copy"
    wrong = trusting(tmp_path, "other.test")
    assert note("secure", tls=wrong) == "server_tls: certificate is not for other.test"
    assert check(PgsqlProbe, PgsqlOptions(), pg.port).note == "takes connections"


def test_other_checks_meet_postgres(check: Check, pg: Postgres) -> None:
    for cls, options in (
        (RedisProbe, RedisOptions()),
        (MemcachedProbe, MemcachedOptions()),
    ):
        result = check(cls, options, pg.port)
        assert not result.ok and not result.note.startswith("check failed")


# -- MariaDB


@pytest.fixture(scope="module")
def mariadb(live_folder: Path) -> Iterator[MariaDB]:
    """MariaDB with TLS; passwords are "pw"."""
    folder = live_folder / "mariadb-logins"
    folder.mkdir()
    tls.write(tls.issue("db.test"), folder, "server", both=False)
    key = folder / "server.key"
    options = [f"--ssl-cert={folder / 'server.crt'}", f"--ssl-key={key}"]
    options += ["--plugin-load-add=auth_ed25519", "--max-connect-errors=3"]
    if os.geteuid() == 0:
        shutil.chown(key, "mysql", "mysql")
    key.chmod(0o600)
    server = MariaDB(program("mariadbd"), folder / "db", 1, options=options).start()
    server.query(
        "CREATE USER lb@'127.0.0.1' IDENTIFIED BY 'pw'; CREATE USER free@'127.0.0.1';"
        "CREATE USER secure@'127.0.0.1' IDENTIFIED BY 'pw' REQUIRE SSL;"
        "CREATE USER sock@'localhost' IDENTIFIED BY 'pw';"
        "CREATE USER ed@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('pw');"
    )
    yield server
    server.stop()


def test_mysql_logins(check: Check, mariadb: MariaDB, tmp_path: Path) -> None:
    def note(user: str, password: str = "pw", tls: Any = None, **more: Any) -> str:
        options = MysqlOptions(user=user, password=password, **more)
        return check(MysqlProbe, options, mariadb.port, tls).note

    assert note("lb") == "logged in"
    assert note("lb", role="primary", query="SELECT 'a', NULL", expect="a") == (
        "primary, the query gave 'a'"
    )
    assert note("lb", role="replica") == "it is not read only"
    assert note("lb", tls=trusting(tmp_path), role="primary") == "primary"
    assert note("secure", tls=trusting(tmp_path)) == "logged in"
    assert note("secure").startswith("error 1045: Access denied for user 'secure'@'127.0.0.1'")
    assert note("lb", "wrong").startswith("error 1045: Access denied")
    assert note("free", "") == "logged in"
    assert note("ed").startswith("wants authentication 'client_ed25519'")
    assert note("lb", database="none").startswith("error 1044: Access denied")
    assert note("lb", galera=True).startswith("Galera state: ")
    assert note("lb", replicating=True).startswith("error 1227: Access denied")
    assert note("lb", query="SELEC 1").startswith("error 1064: ")
    wrong = trusting(tmp_path, "other.test")
    assert note("lb", tls=wrong) == "server_tls: certificate is not for other.test"
    options = MysqlOptions(user="sock", password="pw")
    assert check(MysqlProbe, options, mariadb.socket).note == "logged in"


def test_mysql_without_a_user_never_breaks_off_a_handshake(check: Check, mariadb: MariaDB) -> None:
    """It is refused, which is no connection error: those would get our address blocked."""
    for _ in range(10):
        result = check(MysqlProbe, MysqlOptions(), mariadb.port)
        assert result.ok and "MariaDB" in result.note
    errors = mariadb.query("SHOW GLOBAL STATUS LIKE 'Connection_errors_%'")
    assert {line.split("\t")[1] for line in errors.splitlines()} == {"0"}
    assert check(MysqlProbe, MysqlOptions(user="lb", password="pw"), mariadb.port).ok


# -- Redis, memcached


def test_redis_logins(check: Check, tmp_path: Path) -> None:
    leaf = tls.issue("db.test")
    tls.write(leaf, tmp_path, "server", both=False)
    secure_port = free_port()
    options = ["--requirepass", "pw", "--tls-port", str(secure_port)]
    options += ["--tls-cert-file", str(tmp_path / "server.crt"), "--tls-auth-clients", "no"]
    options += ["--tls-key-file", str(tmp_path / "server.key")]
    server = Redis(program("redis-server"), tmp_path / "redis", options=options).start()
    try:
        server.command("-a", "pw", "acl", "setuser", "lb", "on", ">pw", "resetkeys",
                       "-@all", "+ping", "+role", "+info")  # fmt: skip

        def note(port: int, tls: Any = None, **words: Any) -> str:
            return check(RedisProbe, RedisOptions(**words), port, tls).note

        assert note(server.port) == "NOAUTH Authentication required."
        assert note(server.port, password="pw", role="master") == "master"
        assert note(server.port, user="lb", password="pw", role="master") == "master"
        assert note(server.port, password="no").startswith("WRONGPASS")
        assert note(secure_port, trusting(tmp_path), password="pw", role="replica") == (
            "it is a master"
        )
    finally:
        server.stop()


def test_memcached(check: Check, tmp_path: Path) -> None:
    port = free_port()
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "8"]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]
    child = Child(command, tmp_path / "memcached.log")
    try:
        child.wait_ready(lambda: accepts(port))
        assert check(MemcachedProbe, MemcachedOptions(), port).note.startswith("version 1.")
        result = check(MemcachedProbe, MemcachedOptions(items=1), port)
        assert result.note == "holds 0 items, wanted 1"
    finally:
        child.stop()
