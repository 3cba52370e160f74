"""The pgsql check against a scripted PostgreSQL, and against peers that are none."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.balance.live import LiveServer
from lbproxy.balance.server import AdminState
from lbproxy.config.model import ServerSpec
from lbproxy.probes.pgsql import PgsqlOptions, PgsqlProbe
from lbproxy.probes.pgwire import MESSAGE_BYTES
from tests.probes.fake_pgsql import FakePostgres, authentication, error, message
from tests.probes.plays import Line, Peer, client_tls, listening, server_tls
from tests.probes.world import ADDRESS, World

PRIMARY = ["f", "off", "7100", "00000001"]
REPLICA = ["t", "on", "t", "0.4", "0"]
PASSWORD = {"user": "lb", "password": "s3cret"}


def probe(world: World, **options: Any) -> PgsqlProbe:
    return PgsqlProbe(PgsqlOptions(**options), world.env)


def check(fake: Any, *, chunk: int = 0, **options: Any) -> Any:
    world = listening(fake, chunk)
    result = world.check(probe(world, **options))
    assert world.all_closed()
    assert "s3cret" not in result.note
    return result


def says(row: Any) -> FakePostgres:
    return FakePostgres(answer=lambda sql: row)


# -- logging in


@pytest.mark.parametrize("auth", ["trust", "md5", "scram"])
def test_logs_in_and_out(auth: str) -> None:
    fake = FakePostgres(auth)
    result = check(fake, **PASSWORD, database="orders")
    assert (result.ok, result.note) == (True, "logged in")
    assert fake.names == [{"user": "lb", "database": "orders", "application_name": "lbproxy"}]
    assert (fake.asked, fake.ended) == ([], 1)


@pytest.mark.parametrize("auth", ["md5", "scram"])
def test_a_wrong_password(auth: str) -> None:
    result = check(FakePostgres(auth, password="other"), **PASSWORD)
    assert result.note == 'FATAL 28P01: password authentication failed for user "lb"'
    assert not result.ok and not result.certain


@pytest.mark.parametrize("auth", ["cleartext", "md5", "scram"])
def test_no_password(auth: str) -> None:
    result = check(FakePostgres(auth), user="lb")
    assert result.note == "wants a password, and the check has none"


def test_a_password_in_the_clear_has_to_be_allowed() -> None:
    refused = check(FakePostgres("cleartext"), **PASSWORD)
    assert refused.note == "wants the password in the clear; use tls, or allow_cleartext"
    assert check(FakePostgres("cleartext"), **PASSWORD, allow_cleartext=True).ok


@pytest.mark.parametrize("password", ["pässwörd", "a\u00adb", "\u2168", "x,y=z", "\u0627\u0628"])
def test_scram_with_other_characters(password: str) -> None:
    fake = FakePostgres("scram", password="IX" if password == "\u2168" else password)
    assert check(fake, user="lb", password=password).ok


def test_a_password_file_is_read_for_each_check(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("old\n")
    fake = FakePostgres("scram")
    world = listening(fake)
    one = probe(world, user="lb", password_file=str(path))
    assert world.check(one).note.startswith("FATAL 28P01")
    path.write_text("s3cret\n")
    assert world.check(one).ok
    path.write_text("two\nlines\n")
    assert world.check(one).note == f"{path} does not hold one line with a password"
    path.unlink()
    assert world.check(one).note == f"cannot read {path}: No such file or directory"


def test_tls_comes_before_anything_else(tmp_path: Path) -> None:
    fake = FakePostgres("cleartext", tls=server_tls(tmp_path), answer=lambda sql: PRIMARY)
    world = listening(fake)
    one = probe(world, **PASSWORD, role="primary")
    result = world.check(one, world.target(tls=client_tls(tmp_path)))
    assert (result.ok, result.note) == (True, "primary, timeline 1")
    assert fake.secured and fake.ended == 1
    assert world.clients[0].data == struct.pack(">II", 8, 80877103)


def test_tls_that_is_not_trusted(tmp_path: Path) -> None:
    fake = FakePostgres(tls=server_tls(tmp_path, trusted=False))
    world = listening(fake)
    result = world.check(probe(world, **PASSWORD), world.target(tls=client_tls(tmp_path)))
    assert result.note.startswith("server_tls: ")
    assert fake.names == []


def test_tls_switched_off(tmp_path: Path) -> None:
    world = listening(FakePostgres())
    result = world.check(probe(world, **PASSWORD), world.target(tls=client_tls(tmp_path)))
    assert result.note == "it has TLS switched off"


def test_more_than_the_answer_before_tls(tmp_path: Path) -> None:
    """Plain bytes that would be taken for encrypted ones."""

    def inject(peer: Peer) -> Line:
        yield 8
        peer.write(b"S" + authentication(0))

    world = listening(inject)
    result = world.check(probe(world, **PASSWORD), world.target(tls=client_tls(tmp_path)))
    assert not result.ok and "before TLS began" in result.note


@pytest.mark.parametrize(
    ("find", "put", "words"),
    [
        (b"r=", b"r=x", "does not continue ours"),
        (b"i=4096", b"i=99999999", "iterations"),
        (b",s=", b",s=!", "malformed"),
        (b",s=", b",m=ext,s=", "malformed"),
        (b"v=", b"e=invalid-proof,v=", "malformed"),
        (b"v=", b"v=AAAA", "does not know the password"),
        (b"v=", b"v==", "not base64"),
    ],
)
def test_scram_messages_that_are_wrong(find: bytes, put: bytes, words: str) -> None:
    fake = FakePostgres("scram", spoil=lambda data: data.replace(find, put, 1))
    result = check(fake, **PASSWORD)
    assert not result.ok and words in result.note, result.note


def test_a_server_that_skips_its_own_proof() -> None:
    def impostor(peer: Peer) -> Line:
        size = int.from_bytes((yield 8)[:4], "big")
        yield size - 8
        peer.write(authentication(10, b"SCRAM-SHA-256\0\0"))
        yield None
        peer.write(authentication(0) + message(b"Z", b"I"))
        yield None

    result = check(impostor, **PASSWORD)
    assert result.note == "did not prove that it knows the password"


@pytest.mark.parametrize(
    ("code", "data", "words"),
    [
        (7, b"", "GSSAPI"),
        (9, b"", "SSPI"),
        (2, b"", "Kerberos"),
        (10, b"SCRAM-SHA-512\0\0", "SASL mechanism"),
        (11, b"r=x", "unexpected authentication request"),
        (12, b"v=x", "unexpected authentication request"),
        (5, b"xx", "unexpected authentication request"),
        (99, b"", "unexpected authentication request"),
    ],
)
def test_ways_to_log_in_that_we_do_not_know(code: int, data: bytes, words: str) -> None:
    def server(peer: Peer) -> Line:
        yield 8
        peer.write(authentication(code, data))

    result = check(server, **PASSWORD)
    assert not result.ok and words in result.note


# -- without a user


@pytest.mark.parametrize(
    ("answer", "ok", "note"),
    [
        (authentication(10, b"SCRAM-SHA-256\0\0"), True, "takes connections"),
        (authentication(0), True, "takes connections"),
        (error("28000", "no pg_hba.conf entry"), True, "takes connections"),
        (error("3D000", "no such database"), True, "takes connections"),
        (error("57P03", "the database system is starting up"), False, "FATAL 57P03: the data"),
        (error("53300", "sorry, too many clients already"), False, "FATAL 53300: sorry"),
        (message(b"Z", b"I"), False, "does not request authentication"),
    ],
)
def test_without_a_user_it_is_pg_isready(answer: bytes, ok: bool, note: str) -> None:
    def server(peer: Peer) -> Line:
        yield 8
        peer.write(answer)

    result = check(server)
    assert result.ok is ok and result.note.startswith(note)


# -- roles


@pytest.mark.parametrize(
    ("role", "row", "ok", "note"),
    [
        ("primary", PRIMARY, True, "primary, timeline 1"),
        ("primary", ["t", "on", "7100", None], False, "it is a replica"),
        (
            "primary",
            ["f", "on", "7100", "00000001"],
            False,
            "it is read only, though not a replica",
        ),
        ("replica", REPLICA, True, "replica"),
        ("replica", ["f", "off", "f", None, None], False, "it is a primary"),
    ],
)
def test_roles(role: str, row: Any, ok: bool, note: str) -> None:
    result = check(says(row), user="lb", role=role)
    assert (result.ok, result.note, result.certain) == (ok, note, not ok)


@pytest.mark.parametrize(
    ("options", "row", "ok", "note"),
    [
        ({"max_lag": 5.0}, REPLICA, True, "replica, 0.4 s behind"),
        ({"max_lag": 0.3}, REPLICA, False, "0.4 s behind, at most 0.3 s wanted"),
        ({"max_lag": 5.0}, ["t", "on", "f", None, "0"], False, "an unknown time behind, at most"),
        ({"max_lag": 5.0}, ["f", "off", "f", None, None], True, "primary"),
        ({"max_lag_bytes": 100}, ["t", "on", "t", "0", "100"], True, "replica, 0.0 s behind"),
        ({"max_lag_bytes": 99}, ["t", "on", "t", "0", "100"], False, "100 bytes to replay, at"),
        ({"max_lag_bytes": 99}, ["t", "on", "f", "1", None], False, "an unknown number of bytes"),
        ({"replicating": True}, ["t", "on", "f", "1", "0"], False, "receives nothing from its"),
        ({"replicating": True}, REPLICA, True, "replica, 0.4 s behind"),
    ],
)
def test_replication(options: Any, row: Any, ok: bool, note: str) -> None:
    result = check(says(row), user="lb", **options)
    assert result.ok is ok and result.note.startswith(note), result.note
    assert not result.certain


@pytest.mark.parametrize("row", [None, [], ["f"], ["f", "off", "x", "zz"], ["f", "off", "x", None]])
def test_answers_that_make_no_sense(row: Any) -> None:
    result = check(says(row), user="lb", role="primary")
    assert not result.ok and not result.certain
    assert not check(says(["t", "on", "t", "soon", "0"]), user="lb", max_lag=1).ok


def test_a_query_of_ones_own() -> None:
    options = {"user": "lb", "query": "SELECT state FROM app"}
    assert check(says(["ready"]), **options).note == "logged in, the query gave 'ready'"
    assert check(says(["ready"]), **options, expect="ready").ok
    assert check(says(["ready"]), **options, expect="~^rea").ok
    result = check(says(["broken\nfor long"]), **options, expect="ready")
    assert result.note == "the query gave 'broken for long', wanted 'ready'"
    assert check(says([None]), **options).note == "logged in, the query gave 'NULL'"
    assert not check(says([None]), **options, expect="NULL").ok
    assert check(says(None), **options).note == "the query gave no row"
    assert check(says(ValueError("no such table")), **options).note == "ERROR 42000: no such table"


class Refused(Exception):
    """With a SQLSTATE."""

    def __init__(self, code: str) -> None:
        super().__init__("permission denied for function pg_control_system")
        self.code = code


@pytest.mark.parametrize("code", ["42501", "0A000", "42883"])
def test_a_primary_that_does_not_tell_its_timeline(code: str) -> None:
    def answer(sql: str) -> Any:
        return Refused(code) if "pg_walfile_name" in sql else ["f", "off", "", "0"]

    assert check(FakePostgres(answer=answer), user="lb", role="primary").note == "primary"


def test_another_error_of_the_timeline_is_one() -> None:
    result = check(says(Refused("57014")), user="lb", role="primary")
    assert result.note.startswith("ERROR 57014: permission")


# -- two primaries


class Pair:
    """Two servers of one backend, and the probe that checks both."""

    def __init__(self, **options: Any) -> None:
        self.rows: dict[str, Any] = {}
        self.world = listening(FakePostgres(answer=lambda sql: self.rows[self.asked]))
        self.probe = probe(self.world, user="lb", role="primary", **options)
        self.servers = {
            name: LiveServer("app", ServerSpec(name, target=ADDRESS)) for name in ("a", "b")
        }
        self.asked = ""

    def check(self, name: str, *row: Any) -> Any:
        self.rows[name], self.asked = list(row), name
        target = evolve(self.world.target(), server=self.servers[name])
        return self.world.check(self.probe, target)


def test_an_old_primary_that_comes_back_is_refused() -> None:
    pair = Pair()
    assert pair.check("a", *PRIMARY).ok
    assert pair.check("b", "f", "off", "7100", "00000002").ok
    result = pair.check("a", *PRIMARY)
    assert result.note == "an old primary, of timeline 1: b was promoted to timeline 2"
    assert result.certain
    assert not pair.check("b", "t", "on", "7100", None).ok, "it crashed and recovers"
    assert not pair.check("a", *PRIMARY).ok, "still old, even while the new one is away"
    assert pair.check("b", "f", "off", "7100", "00000002").ok


def test_the_operator_can_go_back_to_an_old_one() -> None:
    pair = Pair()
    assert pair.check("b", "f", "off", "7100", "00000002").ok
    assert not pair.check("a", *PRIMARY).ok
    pair.servers["b"].admin = AdminState.MAINT
    assert pair.check("a", *PRIMARY).ok
    pair.servers["b"].admin = AdminState.READY
    assert not pair.check("a", *PRIMARY).ok
    del pair.servers["b"]
    assert pair.check("a", *PRIMARY).ok


def test_timelines_of_other_clusters_do_not_count() -> None:
    pair = Pair()
    assert pair.check("b", "f", "off", "9999", "00000007").ok
    assert pair.check("a", *PRIMARY).ok


def test_exclusive() -> None:
    pair = Pair(exclusive=True)
    assert pair.check("a", *PRIMARY).ok
    result = pair.check("b", *PRIMARY)
    assert (result.note, result.certain) == ("not the only primary: so says a", True)
    assert not pair.check("a", *PRIMARY).ok, "a refused one says so all the same"
    assert not pair.check("b", "t", "on", "7100", None).ok
    assert pair.check("a", *PRIMARY).ok
    assert Pair().check("b", *PRIMARY).ok


def test_a_server_that_cannot_be_reached_claims_nothing() -> None:
    pair = Pair(exclusive=True)
    assert pair.check("b", *PRIMARY).ok
    assert not pair.check("a", *PRIMARY).ok
    pair.world.reactor.partition("10.0.0.1")
    target = evolve(pair.world.target(), server=pair.servers["b"])
    found = pair.world.begin(pair.probe, target)
    pair.world.running.cancel()
    assert found
    pair.world.reactor.heal("10.0.0.1")
    assert pair.check("a", *PRIMARY).ok


# -- peers that are not PostgreSQL


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"-ERR unknown command\r\n",
        b"220 mail.example ESMTP\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"R\0\0\0\x03",
        b"R\xff\xff\xff\xff",
        b"R" + struct.pack(">I", MESSAGE_BYTES + 5),
        b"R\0\0\0\x06\0\0",
        b"\0\0\0\0\x08",
        message(b"D", b"\0\x01"),
        message(b"Z", b"I"),
    ],
)
@pytest.mark.parametrize("user", ["", "lb"])
def test_wrong_servers(data: bytes, user: str) -> None:
    def server(peer: Peer) -> Line:
        peer.write(data)
        yield 8

    result = check(server, user=user)
    assert (result.ok, result.certain) == (user == "" and data.startswith(b"R\0\0\0\x06"), False)


@pytest.mark.parametrize(
    "answer",
    [
        message(b"D", b""),
        message(b"D", b"\0"),
        message(b"D", b"\0\x01"),
        message(b"D", b"\0\x01\0\0\0\x05abc"),
        message(b"D", b"\xff\xff\0\0\0\0"),
        message(b"G", b""),
        message(b"R", b"\0\0\0\0"),
        b"D\x7f\xff\xff\xff",
    ],
)
def test_malformed_answers_to_a_query(answer: bytes) -> None:
    def server(peer: Peer) -> Line:
        yield 8
        peer.write(authentication(0) + message(b"Z", b"I"))
        while b"SELECT" not in peer.client.data:
            yield None
        peer.write(answer + message(b"Z", b"I"))

    result = check(server, user="lb", query="SELECT 1")
    assert not result.ok and not result.note.startswith("check failed")


def test_cut_off_anywhere() -> None:
    """However far a server gets before it dies, it is a failed check and nothing else."""
    whole = (
        authentication(5, b"salt")
        + authentication(0)
        + message(b"Z", b"I")
        + message(b"T", b"\0\0")
        + message(b"D", b"\0\x01\0\0\0\x011")
    )
    for size in range(len(whole)):

        def server(peer: Peer, size: int = size) -> Line:
            yield 8
            peer.write(whole[:size])
            peer.close()

        result = check(server, **PASSWORD, query="SELECT 1")
        assert not result.ok and result.note, size


@pytest.mark.parametrize("auth", ["md5", "scram"])
def test_a_slow_dribble(auth: str) -> None:
    """One byte a millisecond is the same server."""
    fake = FakePostgres(auth, answer=lambda sql: PRIMARY)
    world = listening(fake, chunk=1)
    found = world.begin(probe(world, **PASSWORD, role="primary"))
    for _ in range(2000):
        world.reactor.advance(0.001)
    assert found[0].note == "primary, timeline 1"
    assert world.all_closed()


def test_an_endless_answer_is_not_kept() -> None:
    """Only the first row is; the rest is read and forgotten."""

    def server(peer: Peer) -> Line:
        yield 8
        peer.write(authentication(0) + message(b"Z", b"I"))
        while b"SELECT" not in peer.client.data:
            yield None
        peer.write(message(b"D", b"\0\x01\0\0\0\x011") * 50_000)
        peer.write(message(b"C", b"SELECT\0") + message(b"Z", b"I"))
        yield None

    assert check(server, user="lb", query="SELECT 1", expect="1").ok


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_anything_at_all_is_an_answer(data: bytes, welcome: bool) -> None:
    def server(peer: Peer) -> Line:
        yield 8
        peer.write((authentication(0) + message(b"Z", b"I") if welcome else b"") + data)
        peer.close()

    result = check(server, **PASSWORD, role="primary")
    assert not result.ok


# -- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"role": "primary"}, "role: needs a user"),
        ({"password": "x"}, "password: needs a user"),
        ({"database": "x"}, "database: needs a user"),
        ({"query": "SELECT 1"}, "query: needs a user"),
        ({"replicating": True}, "max_lag: needs a user"),
        ({"user": "lb", "role": "primary", "max_lag": 1.0}, "about replicas"),
        ({"user": "lb", "exclusive": True}, "exclusive: needs role=primary"),
        ({"user": "lb", "expect": "1"}, "expect: needs a query"),
        ({"user": "lb", "query": "x", "expect": "~("}, "not a regular expression"),
        ({"user": "lb", "password": "x", "password_file": "/x"}, "keep one"),
        ({"user": "lb", "password_file": "/no/such/file"}, "cannot read /no/such/file: No such"),
        ({"user": "l\0b"}, "NUL"),
    ],
)
def test_mistakes_in_options(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PgsqlOptions(**options)


def test_the_password_is_in_no_repr() -> None:
    assert "s3cret" not in repr(PgsqlOptions(**PASSWORD))
