"""The smtp check against a scripted mail server in memory, TLS included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from lbproxy.probes.smtp import SmtpOptions, SmtpProbe
from lbproxy.tls.contexts import ClientContextFactory, ServerContextFactory
from lbproxy.tls.parameters import TLSParameters
from tests.probes.world import Scripted, World
from tests.support import tls

PLAY = {
    "": "220 mail.test ESMTP ready",
    "EHLO": "250-mail.test\r\n250-SIZE 1000\r\n250 STARTTLS",
    "HELO": "250 mail.test",
    "STARTTLS": "220 go ahead",
    "QUIT": "221 bye",
}


class Mail:
    """Answers each command with what the play says; STARTTLS with TLS, if it has a certificate."""

    def __init__(self, contexts: ServerContextFactory | None = None, **play: str) -> None:
        self.play = {**PLAY, **play}
        self.contexts = contexts
        self.commands: list[str] = []
        self.secured = False

    def __call__(self, client: Scripted) -> None:
        line = client.data.decode("latin-1")
        client.data = b""
        word = line.split()[0] if line else ""
        if self.secured and not line:
            return  # connected again, above TLS
        if line:
            self.commands.append(line)
        answer = self.play[word]
        client.write(answer.encode() + b"\r\n")
        if word == "QUIT":
            client.close()
        if word == "STARTTLS" and answer.startswith("220") and self.contexts:
            factory = TLSMemoryBIOFactory(
                self.contexts, False, client.world.factory, client.world.reactor
            )  # type: ignore[no-untyped-call]
            transport: Any = client.transport
            self.secured = True
            layer = TLSMemoryBIOProtocol(factory, client)  # type: ignore[no-untyped-call]
            transport.protocol = layer
            layer.makeConnection(transport)


def check(mail: Mail, target: dict[str, Any] | None = None, **options: Any) -> Any:
    world = World(mail)
    world.listen()
    probe = SmtpProbe(SmtpOptions(**options), world.env)
    result = world.check(probe, world.target(**(target or {})))
    assert world.all_closed()
    return result


def test_a_whole_talk() -> None:
    mail = Mail()
    result = check(mail)
    assert (result.ok, result.note) == (True, "220 mail.test ESMTP ready")
    assert mail.commands == ["EHLO localhost\r\n", "QUIT\r\n"]


def test_helo_where_ehlo_is_not_known() -> None:
    mail = Mail(EHLO="502 what?")
    assert check(mail, helo="lb.example").ok
    assert mail.commands == ["EHLO lb.example\r\n", "HELO lb.example\r\n", "QUIT\r\n"]


def test_starttls(tmp_path: Path) -> None:
    contexts = ServerContextFactory([tls.pair(tmp_path, "mail.test")])
    ours = ClientContextFactory("mail.test", ca=tls.ca_file(tmp_path))
    target = {"tls": TLSParameters(ours, server_side=False)}
    mail = Mail(contexts)
    result = check(mail, target, starttls=True)
    assert (result.ok, result.note) == (True, "220 mail.test ESMTP ready")
    assert [line.split()[0] for line in mail.commands] == ["EHLO", "STARTTLS", "EHLO", "QUIT"]
    other = ClientContextFactory("other.test", ca=tls.ca_file(tmp_path))
    target = {"tls": TLSParameters(other, server_side=False)}
    result = check(Mail(contexts), target, starttls=True)
    assert not result.ok and "certificate is not for other.test" in result.note


def test_nothing_said_before_tls_counts_as_said_in_it(tmp_path: Path) -> None:
    ours = ClientContextFactory("mail.test", ca=tls.ca_file(tmp_path))
    target = {"tls": TLSParameters(ours, server_side=False)}
    mail = Mail(STARTTLS="220 go ahead\r\n250-injected\r\n250 STARTTLS")
    result = check(mail, target, starttls=True)
    assert not result.ok and result.note.startswith("said ")


@pytest.mark.parametrize(
    ("play", "note"),
    [
        ({"": "421 too busy"}, "greeted with 421 too busy"),
        ({"": "554-no\r\n554 go away"}, "greeted with 554 no"),
        ({"": "HTTP/1.1 400 Bad Request"}, "does not speak SMTP: 'HTTP/1.1 400 Bad Request'"),
        ({"": "199 x"}, "does not speak SMTP: '199 x'"),
        ({"": "220-a\r\n250 b"}, "sent a reply of several codes"),
        ({"": "220-x\r\n" * 101}, "sent a reply of more than 100 lines"),
        ({"": "220 " + "x" * 5000}, "sent a line of more than 1024 bytes: '220 xxxx"),
        ({"EHLO": "421 shutting down"}, "answered EHLO with 421 shutting down"),
        ({"EHLO": "500 what", "HELO": "554 no"}, "answered HELO with 554 no"),
        ({"QUIT": "451 why"}, "answered QUIT with 451 why"),
    ],
)
def test_refusals_and_nonsense(play: dict[str, str], note: str) -> None:
    result = check(Mail(**play))
    assert not result.ok and result.note.startswith(note)


def test_no_starttls_to_be_had() -> None:
    assert check(Mail(EHLO="250 mail.test"), starttls=True).note == "offers no STARTTLS"
    play = {"STARTTLS": "454 not now"}
    assert check(Mail(**play), starttls=True).note == "answered STARTTLS with 454 not now"


@pytest.mark.parametrize("said", [b"", b"220", b"220-mail\r\n"])
def test_cut_short(said: bytes) -> None:
    def script(client: Scripted) -> None:
        client.write(said)
        client.close()

    world = World(script)
    world.listen()
    result = world.check(SmtpProbe(SmtpOptions(), world.env))
    assert not result.ok and result.note.startswith("closed")


@pytest.mark.parametrize("helo", ["", "a b", "a\r\nMAIL", "ü"])
def test_a_name_that_is_none(helo: str) -> None:
    with pytest.raises(ValueError, match="helo"):
        SmtpOptions(helo=helo)
