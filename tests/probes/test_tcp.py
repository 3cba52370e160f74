"""The tcp check against a scripted server in memory."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.health.state import Result
from lbproxy.probes.base import Conversation, Probe, ProbeTarget, WrongRole, unescape
from lbproxy.probes.tcp import ANSWER_BYTES, TcpOptions, TcpProbe
from tests.probes.world import Scripted, World


def listening(script: object = None) -> World:
    world = World(script or (lambda client: None))  # type: ignore[arg-type]
    world.listen()
    return world


def probe(world: World, **options: object) -> TcpProbe:
    return TcpProbe(TcpOptions(**options), world.env)  # type: ignore[arg-type]


def test_connects_and_closes() -> None:
    world = listening()
    result = world.check(probe(world))
    assert result.ok and result.note == "connected"
    assert len(world.clients) == 1 and world.all_closed()


def test_refused() -> None:
    world = World()
    result = world.check(probe(world))
    assert not result.ok and result.note.startswith("connect_failed")


def test_send_and_expect_over_several_pieces() -> None:
    def script(client: Scripted) -> None:
        if client.data == b"PING\r\n\x00":
            client.write(b"+PO")
            client.world.reactor.callLater(0.25, client.write, b"NG\r\n")

    world = listening(script)
    found = world.begin(probe(world, send=r"PING\r\n\0", expect=r"PONG\r\n"))
    assert not found
    world.reactor.advance(0.25)
    assert found[0].ok and found[0].seconds == pytest.approx(0.25)
    assert found[0].note == "answered '+PONG\\r\\n'"
    assert world.all_closed()


def test_expect_a_pattern() -> None:
    world = listening(lambda client: client.write(b"220 mail.example ESMTP\r\n"))
    assert world.check(probe(world, expect=r"~^220 .*SMTP")).ok


def test_wrong_answer_then_close() -> None:
    def script(client: Scripted) -> None:
        client.write(b"554 go away\r\n")
        client.close()

    world = listening(script)
    result = world.check(probe(world, expect="~^220 "))
    assert not result.ok
    assert result.note == "closed after '554 go away\\r\\n', wanted '~^220 '"


def test_an_endless_answer_is_bounded() -> None:
    world = listening(lambda client: client.write(b"x" * 200_000))
    result = world.check(probe(world, expect="y"))
    assert not result.ok and result.note.startswith("answered 'xxx") and len(result.note) < 100
    assert world.all_closed()


def test_expect_at_the_bound() -> None:
    world = listening(lambda client: client.write(b"x" * (ANSWER_BYTES - 1) + b"y"))
    assert world.check(probe(world, expect="y")).ok
    world = listening(lambda client: client.write(b"x" * ANSWER_BYTES + b"y"))
    assert not world.check(probe(world, expect="y")).ok


def test_preamble_comes_first() -> None:
    world = listening()
    world.check(probe(world, send="hello"), world.target(preamble=b"PROXY UNKNOWN\r\n"))
    assert world.clients[0].data == b"PROXY UNKNOWN\r\nhello"


@pytest.mark.parametrize("connected", [True, False])
def test_cancelled(connected: bool) -> None:
    world = listening()
    if not connected:
        world.reactor.blackhole("10.0.0.1")
    found = world.begin(probe(world, expect="never"))
    world.running.cancel()
    world.reactor.pump()
    assert isinstance(found[0], Failure) and found[0].check(CancelledError)
    assert world.all_closed()
    world.reactor.advance(10)
    assert not world.reactor.connections


def test_a_server_that_does_not_close_is_left_behind() -> None:
    """TLS or unsent bytes can keep a finished connection open: it is aborted a second later."""
    world = listening()
    world.check(probe(world, send="x" * 100))
    world.reactor.advance(2)
    assert world.all_closed() and not world.reactor.connections


def test_a_script() -> None:
    lines = {
        b"": b"220 mail ready\r\n",
        b"EHLO lb\r\n": b"250-mail\r\n250 OK\r\n",
        b"QUIT\r\n": b"221 bye\r\n",
    }
    steps = (
        "expect:~^220 ",
        r"send:EHLO lb\r\n",
        "expect:250-",
        "expect:250 ",
        r"send:QUIT\r\n",
        "expect:~^221",
    )

    def script(client: Scripted) -> None:
        said, client.data = client.data, b""
        client.write(lines[said])

    world = listening(script)
    result = world.check(probe(world, steps=steps))
    assert result.ok and result.note == "answered '221 bye\\r\\n'"
    lines[b"QUIT\r\n"] = b"220 what?\r\n"
    found = world.begin(probe(world, steps=steps))
    assert not found
    world.clients[-1].close()
    world.reactor.pump()
    assert found[0].note == "closed after '220 what?\\r\\n', wanted '~^221'"


def test_an_expect_looks_behind_the_one_before() -> None:
    world = listening(lambda client: client.write(b"ab" if not client.data else b""))
    assert world.check(probe(world, steps=("expect:a", "expect:b"))).ok
    assert not world.begin(probe(world, steps=("expect:b", "expect:a")))  # still waiting


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"send": r"\q"}, "no escape"),
        ({"send": "x\\"}, "no escape"),
        ({"send": r"\x4"}, "two hex digits"),
        ({"send": r"\x g"}, "two hex digits"),
        ({"expect": "~("}, "not a regular expression"),
        ({"steps": ("say:x",)}, "no step"),
        ({"steps": ("send:",)}, "no step"),
        ({"steps": ("expect:~(",)}, "not a regular expression"),
        ({"steps": ("send:x",), "expect": "y"}, "either steps"),
    ],
)
def test_mistakes_in_options(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TcpOptions(**options)


def test_unescape() -> None:
    assert unescape(r"a\r\n\t\0\\\x00\xFf é") == b"a\r\n\t\0\\\x00\xff \xc3\xa9"


def test_a_conversation_does_not_read_without_bound() -> None:
    """A probe that is slow to read pauses the server; nothing is lost."""
    sent = b"".join(b"%06d " % n for n in range(30_000))
    world = listening(lambda client: client.write(sent))

    class Slow(Probe):
        async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
            got = b""
            while len(got) < len(sent):
                got += await conversation.receive()
            assert got == sent
            return "all"

    assert world.check(Slow(None, world.env)) == Result(True, "all", 0.0)


def test_errors_of_the_dial_are_notes() -> None:
    class Refusing:
        def __init__(self, world: World) -> None:
            self.wheel = world.network.wheel
            self.reactor = world.reactor

        def dial(self, address: object, protocol: object, failed: object, **how: object) -> None:
            self.reactor.callLater(
                0, failed, ProxyError(Kind.SERVER_TLS, "certificate has expired")
            )

    world = World()
    target = world.target()
    object.__setattr__(target, "network", Refusing(world))
    assert world.check(probe(world), target).note == "server_tls: certificate has expired"


def test_a_wrong_role_is_certain() -> None:
    class Role(Probe):
        async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
            raise WrongRole("it is a replica")

    world = listening()
    assert world.check(Role(None, world.env)) == Result(False, "it is a replica", certain=True)
    assert world.all_closed()
