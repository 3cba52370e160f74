"""Targets for real: an HTTP server, an SMTP server and programs, on a real reactor."""

from __future__ import annotations

import json
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.process import reapAllProcesses
from twisted.internet.task import LoopingCall, deferLater
from twisted.protocols.basic import LineReceiver
from twisted.web import resource, server

from lbproxy.alerts import destination
from lbproxy.alerts.notify import (
    CommandTarget,
    MailTarget,
    NotifyError,
    WebhookTarget,
    targets,
)
from lbproxy.config.model import Address, AlertsSpec, CommandSpec, MailSpec, WebhookSpec
from lbproxy.observe.alerts import Alert, Finding
from lbproxy.observe.events import EventSeverity
from lbproxy.observe.notices import Notice, NoticeLine
from tests.support.reactor import run

NOTICE = Notice(
    (NoticeLine("firing", Alert("queue", Finding("app", "backend app waits\nfor <ever>"), 0.0)),)
)


class Hook(resource.Resource):
    isLeaf = True

    def __init__(self, *answers: int, body: bytes = b"ok", hang: bool = False) -> None:
        super().__init__()
        self.answers = list(answers)
        self.body = body
        self.hang = hang
        self.got: list[tuple[dict[str, str], Any]] = []

    def render_POST(self, request: Any) -> Any:
        headers = {
            name.decode().lower(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.got.append((headers, json.loads(request.content.read())))
        if self.hang:
            return server.NOT_DONE_YET
        request.setResponseCode(self.answers.pop(0) if self.answers else 200)
        return self.body


def with_hook(hook: Hook, use: Any) -> Any:
    async def scenario(reactor: Any) -> Any:
        site = server.Site(hook, reactor=reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        try:
            return await use(reactor, f"http://127.0.0.1:{port.getHost().port}/hook?secret=1")
        finally:
            await port.stopListening()
            for channel in list(getattr(site, "_channels", ())):
                channel.transport.abortConnection()

    return run(scenario, strict=False)


def test_a_post() -> None:
    hook = Hook()

    async def use(reactor: Any, url: str) -> None:
        target = WebhookTarget(WebhookSpec(url, token="s3cret"), reactor)
        assert "secret" not in target.name
        await target.deliver(NOTICE)

    with_hook(hook, use)
    ((headers, body),) = hook.got
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer s3cret"
    assert body["title"] == "backend app waits\nfor <ever>" and body["severity"] == "warning"
    assert body["alerts"][0]["name"] == "queue" and abs(body["at"] - time.time()) < 60


def test_a_chat() -> None:
    hook = Hook()

    async def use(reactor: Any, url: str) -> None:
        await WebhookTarget(WebhookSpec(url, format="slack"), reactor).deliver(NOTICE)

    with_hook(hook, use)
    assert list(hook.got[0][1]) == ["text"]
    assert "firing: queue: backend app waits" in hook.got[0][1]["text"]


def test_a_server_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destination, "_FIRST_PAUSE", 0.01)
    hook = Hook(500, 503)

    async def use(reactor: Any, url: str) -> None:
        await WebhookTarget(WebhookSpec(url, retries=2), reactor).deliver(NOTICE)

    with_hook(hook, use)
    assert len(hook.got) == 3


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (Hook(404), "answered 404"),
        (Hook(302), "answered 302"),
        (Hook(hang=True), "no answer within 0.3 s"),
        (Hook(500, body=b"x" * 1_000_000), "answered 500"),
    ],
)
def test_what_is_said_about_failures(hook: Hook, words: str) -> None:
    async def use(reactor: Any, url: str) -> str:
        target = WebhookTarget(
            WebhookSpec(url, retries=0, timeout=0.3 if hook.hang else 10), reactor
        )
        with pytest.raises(NotifyError) as caught:
            await target.deliver(NOTICE)
        return str(caught.value)

    assert with_hook(hook, use) == words


class Drip(protocol.Protocol):
    """Answers, and never comes to the end of it."""

    lost = 0

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nx")

    def connectionLost(self, reason: Any = None) -> None:
        Drip.lost += 1


def test_an_answer_without_end_is_left() -> None:
    async def scenario(reactor: Any) -> str:
        factory = protocol.Factory.forProtocol(Drip)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        before = Drip.lost
        try:
            url = f"http://127.0.0.1:{port.getHost().port}/"
            await WebhookTarget(WebhookSpec(url, timeout=0.3, retries=0), reactor).deliver(NOTICE)
        except NotifyError as error:
            for _ in range(500):
                if Drip.lost > before:
                    return str(error)
                await deferLater(reactor, 0.02, lambda: None)
            return "the connection is still open"
        finally:
            await port.stopListening()
        return "delivered"

    assert run(scenario, strict=False) == "no answer within 0.3 s"


def test_nobody_listens() -> None:
    async def scenario(reactor: Any) -> str:
        target = WebhookTarget(WebhookSpec("http://127.0.0.1:9/", retries=0), reactor)
        with pytest.raises(NotifyError) as caught:
            await target.deliver(NOTICE)
        return str(caught.value)

    assert "refused" in run(scenario)


class SMTP(LineReceiver):
    """Enough of RFC 5321."""

    def __init__(self, mails: list[dict[str, Any]], refuse: bool) -> None:
        self.mails = mails
        self.refuse = refuse
        self.mail: dict[str, Any] | None = None

    def connectionMade(self) -> None:
        self.mails.append({"to": [], "lines": []})
        self.sendLine(b"220 mail.example.com")

    def lineReceived(self, line: bytes) -> None:
        mail = self.mails[-1]
        if self.mail is not None:
            if line == b".":
                self.mail = None
                self.sendLine(b"250 taken")
            else:
                mail["lines"].append(line.decode())
            return
        verb = line[:4].upper()
        if verb == b"RCPT":
            mail["to"].append(line.decode())
            self.sendLine(b"550 who?" if self.refuse else b"250 ok")
        elif verb == b"DATA":
            self.mail = mail
            self.sendLine(b"354 go on")
        elif verb == b"QUIT":
            self.sendLine(b"221 bye")
            self.transport.loseConnection()
        elif verb == b"MAIL":
            mail["from"] = line.decode()
            self.sendLine(b"250 ok")
        else:
            self.sendLine(b"250 ok")


def mail(refuse: bool = False, silent: bool = False, **options: Any) -> tuple[list[Any], str]:
    mails: list[dict[str, Any]] = []

    class Factory(protocol.ServerFactory):
        def buildProtocol(self, addr: Any) -> Any:
            return protocol.Protocol() if silent else SMTP(mails, refuse)

    async def scenario(reactor: Any) -> str:
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        spec = MailSpec(
            ("ops@example.com", "boss@example.com"),
            server=Address("tcp", "127.0.0.1", port.getHost().port),
            retries=0,
            **options,
        )
        try:
            await MailTarget(spec, reactor).deliver(NOTICE)
        except NotifyError as error:
            return str(error)
        finally:
            await port.stopListening()
        return ""

    return mails, run(scenario, strict=False)


def test_a_mail() -> None:
    mails, error = mail()
    assert not error
    (one,) = mails
    assert "lbproxy@localhost" in one["from"]
    assert [to.lower() for to in one["to"]] == [
        "rcpt to:<ops@example.com>",
        "rcpt to:<boss@example.com>",
    ]
    assert "Subject: [lbproxy] backend app waits for <ever>" in one["lines"]
    assert "firing: queue: backend app waits" in one["lines"]
    fields = dict(line.split(": ", 1) for line in one["lines"] if ": " in line)
    assert parsedate_to_datetime(fields["Date"]).tzinfo is not None
    assert fields["Message-ID"].startswith("<") and fields["Message-ID"].endswith("@localhost>")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"refuse": True}, "who?"),
        ({"silent": True, "timeout": 0.3}, "not done within 0.3 s"),
        ({"tls": "always"}, "STARTTLS extension not supported"),
    ],
)
def test_a_mail_that_is_not_taken(options: dict[str, Any], words: str) -> None:
    _, error = mail(**options)
    assert words in error or (words.startswith("not done") and "timed out" in error), error


class Chatter(protocol.Protocol):
    """A mail server that never comes to the end of its greeting, and is never silent either."""

    lost = 0
    reactor: Any = None

    def connectionMade(self) -> None:
        self.call = LoopingCall(self.transport.write, b"220-and\r\n")  # type: ignore[union-attr]
        self.call.clock = self.reactor
        self.call.start(0.05)

    def connectionLost(self, reason: Any = None) -> None:
        self.call.stop()
        Chatter.lost += 1


def test_a_mail_server_that_talks_for_ever_keeps_no_thread() -> None:
    async def scenario(reactor: Any) -> str:
        Chatter.reactor = reactor
        factory = protocol.Factory.forProtocol(Chatter)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        before = Chatter.lost
        address = Address("tcp", "127.0.0.1", port.getHost().port)
        spec = MailSpec(("ops@example.com",), server=address, timeout=0.4, retries=0)
        try:
            await MailTarget(spec, reactor).deliver(NOTICE)
        except NotifyError as error:
            for _ in range(500):
                if Chatter.lost > before:
                    return str(error)
                await deferLater(reactor, 0.02, lambda: None)
            return "the thread still listens"
        finally:
            await port.stopListening()
        return "delivered"

    assert run(scenario, strict=False) == "not done within 0.4 s"


def command(argv: tuple[str, ...], timeout: float = 10) -> str:
    async def scenario(reactor: Any) -> str:
        reaper = LoopingCall(reapAllProcesses)  # this reactor installs no signal handlers
        reaper.clock = reactor
        reaper.start(0.02)
        try:
            await CommandTarget(CommandSpec(argv, timeout=timeout), reactor).deliver(NOTICE)
        except NotifyError as error:
            return str(error)
        finally:
            reaper.stop()
        return ""

    return str(run(scenario, strict=False))


PROGRAM = """\
import json, os, sys
told = json.load(sys.stdin)
print(told["text"], os.environ["LBPROXY_TITLE"], os.environ["LBPROXY_SEVERITY"],
      sorted(os.environ), sys.argv[1:],
      sep="|", file=open(sys.argv[1], "w"))
"""


def test_a_program(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command((sys.executable, "-c", PROGRAM, str(out), "$(touch /tmp/x) two words")) == ""
    text, title, severity, names, argv = out.read_text().split("|")
    assert text == "firing: queue: backend app waits\nfor <ever>"
    assert title == "backend app waits for <ever>" and severity == "warning"
    assert "LBPROXY_TEXT" in names and "HOME" not in names
    assert argv.strip() == repr([str(out), "$(touch /tmp/x) two words"])


def test_a_program_that_fails_says_why() -> None:
    assert "exit code 3" in command(("/bin/sh", "-c", "echo no pager here >&2; exit 3"))
    assert "no pager here" in command(("/bin/sh", "-c", "echo no pager here >&2; exit 3"))


def test_a_program_that_hangs_is_killed() -> None:
    began = time.monotonic()
    assert command(("/bin/sleep", "100"), timeout=0.3) == "killed after 0.3 s"
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(("status", "words"), [(0, ""), (3, "exit code 3")])
def test_a_program_that_leaves_a_child_behind(status: int, words: str) -> None:
    """The child holds the pipes, so Twisted does not see the end of it; it has ended all
    the same.
    """
    began = time.monotonic()
    said = command(("/bin/sh", "-c", f"echo x; sleep 90 & exit {status}"), timeout=80)
    assert words in said and bool(said) is bool(words)
    assert time.monotonic() - began < 60


def test_a_program_that_is_not_there() -> None:
    assert command(("/no/such/program",))


def test_all_that_a_section_names() -> None:
    async def scenario(reactor: Any) -> list[str]:
        spec = AlertsSpec(
            webhooks=(WebhookSpec("https://me:pw@example.com/services/T1/s3cret?key=1"),),
            mails=(MailSpec(("a@example.com",)),),
            commands=(CommandSpec(("/bin/true", "x")),),
        )
        return [target.name for target in targets(spec, reactor)]

    assert run(scenario, strict=False) == [
        "webhook https://example.com", "mail to a@example.com", "command /bin/true",
    ]  # fmt: skip


def test_nothing_is_left_waiting() -> None:
    """A delivery that is cancelled while it pauses ends at once."""

    async def scenario(reactor: Any) -> bool:
        target = WebhookTarget(WebhookSpec("http://127.0.0.1:9/", retries=5), reactor)
        sending = Deferred.fromCoroutine(target.deliver(NOTICE))
        ended: list[Any] = []
        reactor.callLater(0.5, sending.cancel)
        sending.addBoth(ended.append)
        await deferLater(reactor, 0.7, lambda: None)
        return bool(ended)

    assert run(scenario)


def test_severity_of_a_recovery_is_info() -> None:
    assert Notice((NoticeLine("recovered", NOTICE.lines[0].alert),)).severity is EventSeverity.INFO
