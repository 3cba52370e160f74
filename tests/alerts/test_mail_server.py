"""Mails through a server that demands STARTTLS and a login."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from email import message_from_string
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from lbproxy.alerts.notify import MailTarget, NotifyError
from lbproxy.config.model import Address, MailSpec
from lbproxy.observe.alerts import Alert, Finding
from lbproxy.observe.notices import Notice, NoticeLine
from tests.alerts.smtp_server import SMTPServer
from tests.support.reactor import run
from tests.support.tls import ca_file, issue, write

NOTICE = Notice((NoticeLine("firing", Alert("queue", Finding("app", "backend app waits"), 0.0)),))
PASSWORD = "s3cret word"


@pytest.fixture
def smtp(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SMTPServer]:
    """With a certificate for localhost, or as the parameter has it; our authority is trusted."""
    options = {"name": "localhost"} | getattr(request, "param", {})
    monkeypatch.setenv("SSL_CERT_FILE", ca_file(tmp_path))
    server = SMTPServer(write(issue(options.pop("name"), **options), tmp_path))
    yield server
    server.close()


def send(server: SMTPServer, **options: Any) -> str:
    """Send the notice; return the error."""
    address = Address("tcp", "localhost", server.port)
    spec = MailSpec(
        ("ops@example.com", "boss@example.com"),
        sender="lb@site.example",
        server=address,
        retries=0,
        **options,
    )

    async def scenario(reactor: Any) -> str:
        try:
            await MailTarget(spec, reactor).deliver(NOTICE)
        except NotifyError as error:
            return str(error)
        return ""

    return run(scenario, strict=False)


def test_a_mail_over_tls_after_a_login(smtp: SMTPServer) -> None:
    assert send(smtp, tls="always", user="lb", password=PASSWORD) == ""
    (mail,) = smtp.sessions
    assert [line.split()[0] for line in mail.clear] == ["ehlo", "STARTTLS"]
    assert [line.split()[0].upper() for line in mail.secret] == [
        *("EHLO", "AUTH", "MAIL", "RCPT", "RCPT", "DATA", "QUIT")
    ]
    message = message_from_string(mail.text)
    assert message["To"] == "ops@example.com, boss@example.com"
    assert parsedate_to_datetime(message["Date"]).tzinfo is not None
    assert message["Message-ID"].endswith("@site.example>")
    assert "backend app waits" in message.get_payload()


def test_a_wrong_password(smtp: SMTPServer) -> None:
    error = send(smtp, tls="always", user="lb", password="guess-a-word")
    assert "authentication failed" in error and "guess-a-word" not in error
    assert smtp.sessions[0].text == ""


@pytest.mark.parametrize(
    ("smtp", "words"),
    [
        ({"trusted": False}, "certificate"),
        ({"name": "other.test"}, "localhost"),
        ({"expired": True}, "expired"),
    ],
    indirect=["smtp"],
    ids=["unknown authority", "another name", "expired"],
)
def test_no_login_reaches_a_server_with_a_wrong_certificate(smtp: SMTPServer, words: str) -> None:
    error = send(smtp, tls="always", user="lb", password=PASSWORD)
    assert words in error
    assert [mail.secret for mail in smtp.sessions] == [[]]


@pytest.mark.parametrize(
    "smtp", [{"name": "other.test", "trusted": False}], indirect=True, ids=["any certificate"]
)
def test_auto_encrypts_to_any_certificate(smtp: SMTPServer) -> None:
    """Without a login, so that nothing but the mail can be read by who stands between."""
    assert "authentication required" in send(smtp, tls="auto")
    assert smtp.sessions[0].secure


def test_the_own_name_is_looked_up_in_a_thread(
    smtp: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking it up may take as long as a dead DNS server does."""
    threads: list[str] = []

    def looked_up(name: str = "") -> str:
        threads.append(threading.current_thread().name)
        return "lb.site.example"

    monkeypatch.setattr(socket, "getfqdn", looked_up)
    assert send(smtp, tls="always", user="lb", password=PASSWORD) == ""
    assert threads and threading.main_thread().name not in threads
    assert smtp.sessions[0].clear[0] == "ehlo lb.site.example"
