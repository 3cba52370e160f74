"""The mysql check against a scripted MySQL and MariaDB, and against peers that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.balance.live import LiveServer
from lbproxy.config.model import Address, ServerSpec
from lbproxy.probes.mysql import MysqlOptions, MysqlProbe
from tests.probes.fake_mysql import OK, FakeMySQL, error, greeting, packet, table
from tests.probes.plays import Line, Peer, client_tls, listening, server_tls
from tests.probes.world import ADDRESS, World

PASSWORD = {"user": "lb", "password": "s3cret"}
MARIADB = "5.5.5-10.11.6-MariaDB-0+deb12u1"


def probe(world: World, **options: Any) -> MysqlProbe:
    return MysqlProbe(MysqlOptions(**options), world.env)


def check(fake: Any, *, chunk: int = 0, **options: Any) -> Any:
    world = listening(fake, chunk)
    result = world.check(probe(world, **options))
    assert world.all_closed()
    assert "s3cret" not in result.note
    return result


# -- logging in


@pytest.mark.parametrize("plugin", ["mysql_native_password", "caching_sha2_password"])
@pytest.mark.parametrize("switch", ["", "mysql_native_password", "caching_sha2_password"])
def test_logs_in_and_out(plugin: str, switch: str) -> None:
    fake = FakeMySQL(plugin, switch)
    result = check(fake, **PASSWORD, database="shop")
    assert (result.ok, result.note) == (True, "logged in")
    assert (fake.databases, fake.asked, fake.ended) == (["shop"], [], 1)


def test_the_greeting_may_name_a_plugin_that_the_user_does_not_have() -> None:
    assert check(FakeMySQL("auth_gssapi_client", "mysql_native_password"), **PASSWORD).ok


@pytest.mark.parametrize("plugin", ["mysql_native_password", "caching_sha2_password"])
def test_a_wrong_password(plugin: str) -> None:
    result = check(FakeMySQL(plugin, password="other"), **PASSWORD)
    assert result.note == "error 1045: Access denied for user 'lb'"


@pytest.mark.parametrize("plugin", ["client_ed25519", "dialog", "sha256_password"])
def test_plugins_that_we_do_not_know(plugin: str) -> None:
    result = check(FakeMySQL(switch=plugin), **PASSWORD)
    assert result.note == (
        f"wants authentication '{plugin}'; a check can do mysql_native_password, "
        "caching_sha2_password"
    )


def test_the_whole_password_needs_tls_or_the_servers_key(tmp_path: Path) -> None:
    plugin = "caching_sha2_password"
    refused = check(FakeMySQL(plugin, cached=False), **PASSWORD)
    assert refused.note.startswith("wants the whole password (caching_sha2_password); use tls")
    with_key = {**PASSWORD, "get_server_public_key": True}
    assert check(FakeMySQL(plugin, cached=False), **with_key).ok
    long = "p" * 100
    fake = FakeMySQL(plugin, cached=False, password=long)
    assert check(fake, user="lb", password=long, get_server_public_key=True).ok
    fake = FakeMySQL(plugin, cached=False, tls=server_tls(tmp_path))
    world = listening(fake)
    assert world.check(probe(world, **PASSWORD), world.target(tls=client_tls(tmp_path))).ok
    assert fake.secured and b"s3cret" not in world.clients[0].data


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "not RSA"),
        (rsa.generate_private_key(65537, 1024), "too short"),
    ],
)
def test_public_keys_that_will_not_do(key: Any, words: str) -> None:
    long = "p" * 200
    fake = FakeMySQL("caching_sha2_password", cached=False, password=long, key=key)
    result = check(fake, user="lb", password=long, get_server_public_key=True)
    assert words in result.note


def test_the_clear_password_plugin_needs_tls(tmp_path: Path) -> None:
    result = check(FakeMySQL(switch="mysql_clear_password"), **PASSWORD)
    assert result.note == "wants the password in the clear; use tls"
    fake = FakeMySQL(switch="mysql_clear_password", tls=server_tls(tmp_path))
    world = listening(fake)
    assert world.check(probe(world, **PASSWORD), world.target(tls=client_tls(tmp_path))).ok


def test_tls_switched_off_and_not_trusted(tmp_path: Path) -> None:
    world = listening(FakeMySQL())
    result = world.check(probe(world, **PASSWORD), world.target(tls=client_tls(tmp_path)))
    assert result.note == "it has TLS switched off"
    fake = FakeMySQL(tls=server_tls(tmp_path, trusted=False))
    world = listening(fake)
    result = world.check(probe(world, **PASSWORD), world.target(tls=client_tls(tmp_path)))
    assert result.note.startswith("server_tls: ") and b"lb\0" not in world.clients[0].data


def test_a_unix_socket_is_private() -> None:
    world = listening(FakeMySQL("caching_sha2_password", cached=False, secured=True))
    target = evolve(world.target(), address=Address("unix", path="/run/mysqld.sock"))
    dial = world.network.dialler.dial
    world.network.dialler.dial = lambda address, *args, **how: dial(ADDRESS, *args, **how)  # type: ignore[method-assign]
    assert world.check(probe(world, **PASSWORD), target).ok


# -- without a user


def test_without_a_user_it_tries_to_log_in_as_nobody() -> None:
    """The handshake is brought to its end: one that is not would count as a connection error."""
    for fake in (
        FakeMySQL(),
        FakeMySQL(switch="caching_sha2_password"),
        FakeMySQL(switch="dialog"),
    ):
        result = check(fake)
        assert (result.ok, result.note) == (True, "version 8.0.36")


@pytest.mark.parametrize("code", [1040, 1129, 1130, 1053])
def test_a_server_that_has_no_room(code: int) -> None:
    def server(peer: Peer) -> Line:
        peer.write(packet(0, error(code, "Too many connections", "")))
        peer.close()
        yield None

    result = check(server)
    assert (result.ok, result.note) == (False, f"error {code}: Too many connections")


# -- roles


def says(**answers: Any) -> FakeMySQL:
    """``role``, ``galera``, ``status``: rows."""

    def answer(sql: str) -> Any:
        if "read_only" in sql:
            return answers["role"]
        if "wsrep" in sql:
            return answers["galera"]
        if "SHOW" in sql:
            return answers["status"]
        return answers["query"]

    return FakeMySQL(answer=answer, version=answers.pop("version", MARIADB))


def read_only(value: str | None, innodb: str = "0") -> list[dict[str, Any]]:
    return [{"read_only": value, "innodb_read_only": innodb}]


@pytest.mark.parametrize(
    ("role", "rows", "ok", "note"),
    [
        ("primary", read_only("0"), True, "primary"),
        ("primary", read_only("OFF"), True, "primary"),
        ("primary", read_only("1"), False, "it is read only"),
        ("primary", read_only("NO_LOCK"), False, "it is read only"),
        ("primary", read_only("0", "1"), False, "it is read only"),
        ("primary", read_only(None), False, "it is read only"),
        ("replica", read_only("1"), True, "replica"),
        ("replica", read_only("0"), False, "it is not read only"),
    ],
)
def test_roles(role: str, rows: Any, ok: bool, note: str) -> None:
    result = check(says(role=rows), **PASSWORD, role=role)
    assert (result.ok, result.note, result.certain) == (ok, note, not ok)


def slave(io: str = "Yes", sql: str = "Yes", behind: str | None = "0", error: str = "") -> Any:
    return {
        "Connection_name": "",
        "Slave_IO_Running": io,
        "Slave_SQL_Running": sql,
        "Last_IO_Error": error,
        "Seconds_Behind_Master": behind,
    }


def replica(io: str = "Yes", behind: str = "0") -> Any:
    return {
        "Replica_IO_Running": io,
        "Replica_SQL_Running": "Yes",
        "Seconds_Behind_Source": behind,
    }


@pytest.mark.parametrize(
    ("options", "rows", "ok", "note"),
    [
        ({"replicating": True}, [slave()], True, "0 s behind"),
        ({"replicating": True}, [slave("Connecting", error="no\nroute")], False,
         "replication IO thread: Connecting: no route"),
        ({"replicating": True}, [slave(sql="No")], False, "replication SQL thread: No"),
        ({"replicating": True}, [], False, "is not a replica of anybody"),
        ({"replicating": True}, [{"x": "y"}], False, "replication IO thread: No"),
        ({"max_lag": 5.0}, [slave(behind="5")], True, "5 s behind"),
        ({"max_lag": 5.0}, [slave(behind="6")], False, "6 s behind, at most 5 s wanted"),
        ({"max_lag": 5.0}, [slave(behind=None)], False, "does not know how far behind it is"),
        ({"max_lag": 5.0}, [slave(behind="1"), slave(behind="9")], False, "9 s behind, at most"),
        ({"max_lag": 5.0}, [replica(behind="3")], True, "3 s behind"),
        ({"max_lag": 5.0}, [replica("No")], False, "replication IO thread: No"),
    ],
)  # fmt: skip
def test_replication(options: Any, rows: Any, ok: bool, note: str) -> None:
    result = check(says(status=rows), **PASSWORD, **options)
    assert result.ok is ok and result.note.startswith(note), result.note


@pytest.mark.parametrize(
    ("version", "sql"),
    [
        (MARIADB, "SHOW ALL SLAVES STATUS"),
        ("8.0.22", "SHOW REPLICA STATUS"),
        ("8.4.0-log", "SHOW REPLICA STATUS"),
        ("8.0.21", "SHOW SLAVE STATUS"),
        ("5.7.44", "SHOW SLAVE STATUS"),
        ("strange", "SHOW SLAVE STATUS"),
    ],
)
def test_words_for_the_status(version: str, sql: str) -> None:
    fake = says(version=version, status=[slave()])
    assert check(fake, **PASSWORD, replicating=True).ok
    assert fake.asked == [sql]


def galera(**values: str) -> list[dict[str, str]]:
    usual = {
        "wsrep_local_state": "4",
        "wsrep_local_state_comment": "Synced",
        "wsrep_ready": "ON",
        "wsrep_cluster_status": "Primary",
    }
    return [{"Variable_name": k, "Value": v} for k, v in {**usual, **values}.items()]


@pytest.mark.parametrize(
    ("rows", "ok", "note"),
    [
        (galera(), True, "Synced"),
        (galera(wsrep_local_state="2", wsrep_local_state_comment="Donor/Desynced"), False,
         "Galera state: Donor/Desynced, wanted Synced"),
        (galera(wsrep_ready="OFF"), False, "Galera: wsrep_ready is off"),
        (galera(wsrep_cluster_status="non-Primary"), False, "Galera: not in the primary component"),
        ([], False, "Galera state: not in a cluster, wanted Synced"),
    ],
)  # fmt: skip
def test_galera(rows: Any, ok: bool, note: str) -> None:
    result = check(says(galera=rows), **PASSWORD, galera=True)
    assert (result.ok, result.note) == (ok, note)


def test_a_query_of_ones_own() -> None:
    options: Any = {**PASSWORD, "query": "SELECT state FROM app"}
    assert check(says(query=[{"s": "ready", "t": None}]), **options, expect="ready").ok
    assert check(says(query=[]), **options).note == "the query gave no row"
    assert not check(says(query=[{"s": "x" * 300}]), **options, expect="~y").ok
    assert check(says(query=ValueError(1146, "no such table")), **options).note == (
        "error 1146: no such table"
    )


def test_exclusive() -> None:
    world = listening(says(role=read_only("0")))
    one = probe(world, **PASSWORD, role="primary", exclusive=True)
    servers = [LiveServer("app", ServerSpec(name, target=ADDRESS)) for name in "ab"]
    results = [world.check(one, evolve(world.target(), server=server)) for server in servers]
    assert [result.ok for result in results] == [True, False]
    assert results[1].note == "not the only primary: so says a"


# -- peers that are not MySQL

HELLO = packet(0, greeting("8.0.36", "mysql_native_password"))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-ERR unknown command\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\0\0\0\0",
        b"\xff\xff\xff\0",
        packet(1, greeting("8.0.36", "mysql_native_password")),
        packet(0, b"\x09" + b"5.0" + b"\0" * 40),
        packet(0, b"\x0a5.0"),
        packet(0, b"\x0a5.0\0" + b"x" * 10),
        packet(0, greeting("4.0", "", 0)),
        packet(0, b"\xff"),
        HELLO + packet(2, b"\xfb"),
        HELLO + packet(2, b"\xfe"),
        HELLO + packet(2, b"\x01"),
        HELLO + packet(2, b"\x01\x04"),
        HELLO + packet(3, OK),
        b"",
    ],
)
def test_wrong_servers(data: bytes) -> None:
    def server(peer: Peer) -> Line:
        peer.write(data)
        if data.startswith(HELLO):
            yield None
        peer.close()

    result = check(server, **PASSWORD)
    assert not result.ok and len(result.note) < 200
    assert not result.note.startswith("check failed")


@pytest.mark.parametrize(
    "answer",
    [
        [b"\xfb/etc/passwd"],
        [b"\xfc"],
        [b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"],
        [b"\x01", b"\x03de"],
        [b"\x01", b"\xfd\xff\xff\xff"],
        [*table([{"a": "b"}])[:2], b"\x01a"],
        [*table([{"a": "b"}])[:3], b"\x05a"],
        [*table([{"a": "b"}])[:3], error(1317, "interrupted")],
        [*table([{"a": "b"}])[:3], *([b"\x01a"] * 1001)],
    ],
)
def test_malformed_answers_to_a_query(answer: list[bytes]) -> None:
    def server(peer: Peer) -> Line:
        peer.write(HELLO)
        while b"SELECT" not in peer.client.data:
            yield None
            if peer.client.data.count(b"mysql_native") == 1 and b"SELECT" not in peer.client.data:
                peer.write(packet(2, OK))
        for n, body in enumerate(answer):
            peer.write(packet((n + 1) % 256, body))
        peer.close()

    result = check(server, **PASSWORD, query="SELECT 1")
    assert not result.ok and result.note


def test_cut_off_anywhere() -> None:
    fake = FakeMySQL()
    whole = (
        HELLO
        + packet(2, OK)
        + b"".join(packet(n + 1, body) for n, body in enumerate(table([{"a": "b"}])))
    )
    for size in range(len(whole)):

        def server(peer: Peer, size: int = size) -> Line:
            peer.write(whole[:size])
            peer.close()
            yield None

        assert not check(server, **PASSWORD, query="SELECT 1").ok, size
    assert fake.ended == 0


def test_a_slow_dribble() -> None:
    world = listening(says(role=read_only("1"), status=[slave()]), chunk=1)
    found = world.begin(probe(world, **PASSWORD, role="replica", max_lag=5.0))
    for _ in range(3000):
        world.reactor.advance(0.001)
    assert found[0].note == "replica, 0 s behind"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_anything_at_all_is_an_answer(data: bytes, welcome: bool) -> None:
    def server(peer: Peer) -> Line:
        peer.write((HELLO + packet(2, OK) if welcome else b"") + data)
        peer.close()
        yield None

    assert not check(server, **PASSWORD, role="primary").ok


# -- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"role": "primary"}, "role: needs a user"),
        ({"galera": True}, "galera: needs a user"),
        ({"query": "SELECT 1"}, "query: needs a user"),
        ({**PASSWORD, "role": "primary", "max_lag": 1.0}, "about replicas"),
        ({**PASSWORD, "exclusive": True}, "exclusive: needs role=primary"),
        ({**PASSWORD, "expect": "1"}, "expect: needs a query"),
    ],
)
def test_mistakes_in_options(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MysqlOptions(**options)
