"""The redis check against a scripted Redis and scripted sentinels, and against peers that
are none.
"""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import Factory

from lbproxy.config.model import Address
from lbproxy.probes.redis import RedisOptions, RedisProbe
from tests.probes.plays import Line, Peer, listening, play
from tests.probes.world import Scripted, World

MASTER = ["master", 3129659, []]
REPLICA = ["slave", "10.0.0.9", 6379, "connected", 3167038]
SENTINELS = tuple(Address("tcp", f"10.0.1.{n}", 26379) for n in (1, 2, 3))
HERE = ["10.0.0.1", "8000"]


def encode(value: Any) -> bytes:
    if isinstance(value, Exception):
        return b"-%s\r\n" % str(value).encode()
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"+%s\r\n" % value
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encode, value))
    data = value.encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


@define
class FakeRedis:
    """Answers commands from ``answers`` (by their first word); ``asked`` are all of them."""

    answers: dict[str, Any]
    asked: list[list[str]] = field(factory=list)

    def __call__(self, peer: Peer) -> Line:
        while True:
            words = []
            for _ in range(int((yield from self._line())[1:])):
                size = int((yield from self._line())[1:])
                words.append((yield size + 2)[:-2].decode())
            self.asked.append(words)
            peer.write(encode(self.answers.get(words[0], ValueError("ERR unknown command"))))

    def _line(self) -> Any:
        line = b""
        while not line.endswith(b"\r\n"):
            line += yield 1
        return line[:-2]


def redis(role: Any = None, **answers: Any) -> FakeRedis:
    return FakeRedis({"PING": b"PONG", "ROLE": role, "AUTH": b"OK", **answers})


def probe(world: World, **options: Any) -> RedisProbe:
    return RedisProbe(RedisOptions(**options), world.env)


def check(fake: Any, *, chunk: int = 0, **options: Any) -> Any:
    world = listening(fake, chunk)
    result = world.check(probe(world, **options))
    assert world.all_closed()
    assert "s3cret" not in result.note
    return result


def test_ping() -> None:
    fake = redis()
    result = check(fake)
    assert (result.ok, result.note, fake.asked) == (True, "PONG", [["PING"]])


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"password": "s3cret"}, ["AUTH", "s3cret"]),
        ({"user": "lb", "password": "s3cret"}, ["AUTH", "lb", "s3cret"]),
    ],
)
def test_auth(options: Any, sent: list[str]) -> None:
    fake = redis()
    assert check(fake, **options).ok
    assert fake.asked == [sent, ["PING"]]


@pytest.mark.parametrize(
    "words",
    [
        "LOADING Redis is loading the dataset in memory",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ],
)
def test_errors_are_the_note(words: str) -> None:
    result = check(redis(PING=ValueError(words)))
    assert (result.ok, result.note, result.certain) == (False, words, False)


@pytest.mark.parametrize(
    ("role", "reply", "ok", "note"),
    [
        ("master", MASTER, True, "master"),
        ("master", REPLICA, False, "it is a replica of 10.0.0.9:6379"),
        ("replica", REPLICA, True, "replica"),
        ("replica", MASTER, False, "it is a master"),
        ("master", ["sentinel", ["m"]], False, "its role is ['sentinel', ['m']]"),
        ("master", None, False, "its role is None"),
        ("master", ["slave"], False, "its role is ['slave']"),
    ],
)
def test_roles(role: str, reply: Any, ok: bool, note: str) -> None:
    result = check(redis(reply), role=role)
    assert (result.ok, result.note, result.certain) == (ok, note, not ok)


INFO = "# Replication\r\nrole:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:{}\r\n"


@pytest.mark.parametrize(
    ("options", "state", "silent", "ok", "note"),
    [
        ({"replicating": True}, "connected", "0", True, "replica"),
        ({"replicating": True}, "connect", "0", False, "link to its master: connect"),
        ({"max_lag": 15.0}, "sync", "0", False, "link to its master: sync"),
        ({"max_lag": 15.0}, "connected", "15", True, "replica"),
        ({"max_lag": 15.0}, "connected", "16", False, "heard nothing of its master for 16 s, at"),
        ({"max_lag": 15.0}, "connected", "-1", False, "does not know when it heard"),
    ],
)
def test_replication(options: Any, state: str, silent: str, ok: bool, note: str) -> None:
    role = ["slave", "10.0.0.9", 6379, state, 1]
    result = check(redis(role, INFO=INFO.format(silent)), **options)
    assert result.ok is ok and result.note.startswith(note), result.note


# -- sentinels


def sentinels(world: World, *answers: Any) -> list[FakeRedis]:
    """One for each answer: an address, None (never heard of it), or "silent"."""
    made = []
    for address, answer in zip(SENTINELS, answers, strict=True):
        if answer == "gone":
            continue
        fake = FakeRedis({"SENTINEL": answer, "AUTH": b"OK"})
        lines: Any = (lambda peer: iter(())) if answer == "silent" else fake
        script = play(lines)
        other = World(script)
        other.reactor, other.network = world.reactor, world.network
        other.clients = world.clients
        factory = Factory.forProtocol(lambda other=other: Scripted(other))
        factory.noisy = False
        world.reactor.listenTCP(address.port, factory, interface=address.host)
        made.append(fake)
    return made


def ask(says: Any, *answers: Any, **options: Any) -> Any:
    world = listening(redis(says))
    made = sentinels(world, *answers)
    one = probe(world, sentinel=SENTINELS, master="main", **options)
    result = world.check(one)
    assert world.all_closed()
    for fake in made:
        assert [words for words in fake.asked if words[0] == "SENTINEL"] in (
            [],
            [["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]],
        )
    return result


ELSEWHERE = ["10.0.0.2", "8000"]


@pytest.mark.parametrize(
    ("answers", "ok", "note"),
    [
        ((HERE, HERE, HERE), True, "master"),
        ((HERE, HERE, ELSEWHERE), True, "master"),
        ((HERE, HERE, "silent"), True, "master"),
        (("gone", HERE, HERE), True, "master"),
        ((ELSEWHERE, ELSEWHERE, HERE), False, "not the sentinels' master, which is 10.0.0.2:8000"),
        (
            (HERE, ELSEWHERE, None),
            False,
            "fewer than 2 of 3 sentinels agree on a master; sentinel d",
        ),
        (
            (HERE, "gone", "gone"),
            False,
            "fewer than 2 of 3 sentinels agree on a master; sentinel: c",
        ),
        (
            (None, None, None),
            False,
            "fewer than 2 of 3 sentinels agree on a master; sentinel does not know",
        ),
        (
            (HERE, ["x"], ["a", "b"]),
            False,
            "fewer than 2 of 3 sentinels agree on a master; sentinel: s",
        ),
    ],
)
def test_the_majority_of_the_sentinels_is_believed(answers: Any, ok: bool, note: str) -> None:
    result = ask(MASTER, *answers)
    assert result.ok is ok and result.note.startswith(note), result.note
    assert result.certain is note.startswith("not the")


def test_a_replica_is_not_the_master_whatever_sentinels_say() -> None:
    assert ask(REPLICA, HERE, HERE, HERE).note == "it is a replica of 10.0.0.9:6379"


def test_replicas_of_the_sentinels_master() -> None:
    theirs = ["10.0.0.9", "6379"]
    assert ask(REPLICA, theirs, theirs, theirs, role="replica").ok
    result = ask(REPLICA, HERE, HERE, HERE, role="replica")
    assert result.note == ("a replica of 10.0.0.9:6379, not of the sentinels' master 10.0.0.1:8000")


def test_a_server_that_the_sentinels_know_by_name() -> None:
    world = listening(redis(MASTER))
    sentinels(world, *[["Redis-1.Example", "8000"]] * 3)
    one = probe(world, sentinel=SENTINELS, master="main")
    target = world.target(target=Address("tcp", "redis-1.example", 8000))
    assert world.check(one, target).ok


def test_sentinels_with_a_password() -> None:
    world = listening(redis(MASTER))
    made = sentinels(world, HERE, HERE, HERE)
    options = {"sentinel_user": "lb", "sentinel_password": "s3cret"}
    assert world.check(probe(world, sentinel=SENTINELS, master="main", **options)).ok
    assert made[0].asked[0] == ["AUTH", "lb", "s3cret"]


def test_sentinels_that_hang_are_left_at_the_deadline() -> None:
    world = listening(redis(MASTER))
    sentinels(world, HERE, "silent", "silent")
    found = world.begin(probe(world, sentinel=SENTINELS, master="main"))
    assert not found
    world.running.cancel()
    world.reactor.pump()
    assert found and world.all_closed()
    world.reactor.advance(5)
    assert not world.reactor.connections


# -- peers that are not Redis


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\r\n",
        b"$5\r\nPO\r\n",
        b"$4\r\nPONGxx",
        b"$99999999\r\n",
        b"$-\r\n",
        b"*1000000\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        b":" + b"9" * 30 + b"\r\n",
        b"+" + b"x" * 10_000 + b"\r\n",
        b"+PING\r\n",
        b":1\r\n",
        b"",
    ],
)
def test_wrong_servers(data: bytes) -> None:
    def server(peer: Peer) -> Line:
        yield 14
        peer.write(data)
        peer.close()

    result = check(server)
    assert not result.ok and not result.certain and len(result.note) < 200


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_anything_at_all_is_an_answer(data: bytes, welcome: bool) -> None:
    def server(peer: Peer) -> Line:
        yield 14
        peer.write((b"+PONG\r\n" if welcome else b"") + data)
        peer.close()

    assert not check(server, role="master").ok


def test_a_slow_dribble() -> None:
    world = listening(redis(REPLICA), chunk=1)
    found = world.begin(probe(world, role="replica"))
    for _ in range(300):
        world.reactor.advance(0.001)
    assert found[0].note == "replica"


# -- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"user": "lb"}, "user: needs a password"),
        ({"sentinel": SENTINELS}, "must be set together"),
        ({"master": "main"}, "must be set together"),
        ({"sentinel_password": "x"}, "there is no sentinel"),
        ({"sentinel": SENTINELS, "master": "m", "sentinel_user": "x"}, "needs a sentinel_password"),
        ({"sentinel": SENTINELS[:1] * 2, "master": "m"}, "two votes"),
        ({"sentinel": (Address("tcp", "s1.example", 1),), "master": "m"}, "write its IP address"),
        ({"role": "master", "replicating": True}, "about replicas"),
    ],
)
def test_mistakes_in_options(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RedisOptions(**options)
