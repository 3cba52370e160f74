"""The nats check: logins, TLS after INFO, lame ducks and nonsense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from lbproxy.health.state import Result
from lbproxy.probes.nats import NatsOptions, NatsProbe
from lbproxy.tls.contexts import ClientContextFactory, ServerContextFactory
from lbproxy.tls.parameters import TLSParameters
from tests.probes.world import Scripted, World
from tests.support import tls


def info(**more: Any) -> bytes:
    return b"INFO " + json.dumps({"version": "2.9.10", **more}).encode() + b" \r\n"


class Server:
    """Says INFO, and ``answer`` to a PING; goes on in TLS if it has ``contexts``."""

    def __init__(
        self,
        answer: bytes = b"PONG\r\n",
        *,
        contexts: Any = None,
        close: bool = False,
        **facts: Any,
    ) -> None:
        self.answer, self.facts, self.contexts, self.close = answer, facts, contexts, close
        self.login: dict[str, Any] = {}
        self.greeting = info(**facts)
        self.secured = False

    def __call__(self, client: Scripted) -> None:
        if self.secured and not client.data:
            return
        if not client.data:
            client.write(self.greeting)
            if self.close:
                client.close()
            if self.contexts:
                self._secure(client)
        elif client.data.endswith(b"PING\r\n"):
            self.login = json.loads(client.data[8:].split(b"\r\n")[0])
            client.data = b" "
            client.write(self.answer)

    def _secure(self, client: Scripted) -> None:
        self.secured = True
        factory = TLSMemoryBIOFactory(
            self.contexts, False, client.world.factory, client.world.reactor
        )  # type: ignore[no-untyped-call]
        transport: Any = client.transport
        layer = TLSMemoryBIOProtocol(factory, client)  # type: ignore[no-untyped-call]
        transport.protocol = layer
        layer.makeConnection(transport)


def check(server: Server, target: dict[str, Any] | None = None, **options: Any) -> Result:
    world = World(server)
    world.listen()
    probe = NatsProbe(NatsOptions(**options), world.env)
    result = world.check(probe, world.target(**(target or {})))
    assert world.all_closed()
    return result


def test_a_whole_talk() -> None:
    server = Server()
    result = check(server)
    assert (result.ok, result.note, result.drain) == (True, "NATS 2.9.10", False)
    assert server.login["verbose"] is False and "user" not in server.login


@pytest.mark.parametrize(
    ("options", "login"),
    [
        ({"user": "lb", "password": "s3"}, {"user": "lb", "pass": "s3"}),
        ({"token": "t"}, {"auth_token": "t"}),
    ],
)
def test_logins(options: dict[str, str], login: dict[str, str]) -> None:
    server = Server()
    assert check(server, **options).ok
    assert login.items() <= server.login.items()


def test_much_may_come_before_pong() -> None:
    assert check(Server(b"+OK\r\nPING\r\n" + info() + b"PONG\r\n")).ok


@pytest.mark.parametrize("server", [Server(ldm=True), Server(info(ldm=True) + b"PONG\r\n")])
def test_a_lame_duck_drains(server: Server) -> None:
    result = check(server)
    assert (result.ok, result.note, result.drain) == (True, "lame duck", True)


@pytest.mark.parametrize(
    ("server", "note"),
    [
        (Server(b"-ERR 'Authorization Violation'\r\n"), "Authorization Violation"),
        (Server(b"MSG what\r\n"), "does not speak NATS: 'MSG what'"),
        (Server(b"+OK\r\n" * 50), "says much, but not PONG"),
        (Server(tls_required=True), "wants TLS; add tls to the check"),
    ],
)
def test_refusals(server: Server, note: str) -> None:
    result = check(server)
    assert (result.ok, result.note) == (False, note)


@pytest.mark.parametrize(
    ("greeting", "note"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "does not speak NATS: 'SSH-2.0-OpenSSH'"),
        (b"INFO [1]\r\n", "INFO is not an object: 'INFO [1]'"),
        (b"INFO {\r\n", "INFO is not an object: 'INFO {'"),
        (b"INFO " + b"[" * 30_000 + b"\r\n", "INFO is not an object"),
        (b"INFO " + b"x" * 100_000, "sent a line of more than 32768 bytes"),
        (b"", "closed without a word"),
        (b"INFO {}", "closed after 'INFO {}'"),
    ],
)
def test_other_greetings(greeting: bytes, note: str) -> None:
    server = Server(close=True)
    server.greeting = greeting
    result = check(server)
    assert not result.ok and result.note.startswith(note)


def test_tls_after_info(tmp_path: Path) -> None:
    contexts = ServerContextFactory([tls.pair(tmp_path, "nats.test")])
    ours = ClientContextFactory("nats.test", ca=tls.ca_file(tmp_path))
    target = {"tls": TLSParameters(ours, server_side=False)}
    server = Server(contexts=contexts, tls_required=True)
    assert check(server, target).note == "NATS 2.9.10"
    assert server.login["tls_required"] is True
    assert check(Server(), target).note == "offers no TLS"


@pytest.mark.parametrize("options", [{"token": "t", "user": "u"}, {"password": "x"}])
def test_mistakes_in_options(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="user"):
        NatsOptions(**options)
