"""CONTROL. Delivery of notices to operators: a POST, a mail, a program.

Each attempt has a deadline, and failures are retried. :mod:`lbproxy.alerts.alerter` and ``lbproxy
alert test`` use it.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from lbproxy.config.model import AlertsSpec, CommandSpec, MailSpec, WebhookSpec
from lbproxy.observe.notices import Notice

__all__ = ["CommandTarget", "Destination", "MailTarget", "NotifyError", "WebhookTarget", "targets"]

_DISCARD = 64 * 1024  # most that is read of an answer
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between two tries
_GRACE = 0.2  # seconds


class NotifyError(Exception):
    """A notice could not be delivered; the message says why."""


class Destination(ABC):
    """A destination of notices. ``name``: for people, without secrets."""

    name = ""
    retries = 0

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    @abstractmethod
    async def send(self, notice: Notice) -> None:
        """Make one attempt. Raises :class:`NotifyError` within the target's ``timeout``."""

    async def deliver(self, notice: Notice) -> None:
        """Try until it is delivered or ``retries`` are used up; raises what the last try raised."""
        pause = _FIRST_PAUSE
        for left in range(self.retries, -1, -1):
            try:
                await self.send(notice)
                return
            except NotifyError:
                if not left:
                    raise
            await deferLater(self._reactor, pause, lambda: None)
            pause = min(2 * pause, _LONGEST_PAUSE)


def targets(spec: AlertsSpec, reactor: Any) -> list[Destination]:
    """Return all destinations in ``[alerts]``."""
    return [
        *(WebhookTarget(one, reactor) for one in spec.webhooks),
        *(MailTarget(one, reactor) for one in spec.mails),
        *(CommandTarget(one, reactor) for one in spec.commands),
    ]


def document(notice: Notice) -> dict[str, Any]:
    """Return the JSON object that webhooks and programs receive."""
    return {"host": socket.gethostname(), "at": time.time(), **notice.as_dict()}


# -- a POST -------------------------------------------------------------------------------------


@implementer(IBodyProducer)
class _Body:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """See IBodyProducer."""
        consumer.write(self.data)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """Do nothing: the body is written at once."""

    def resumeProducing(self) -> None:
        """Do nothing: the body is written at once."""

    def stopProducing(self) -> None:
        """Do nothing: the body is written at once."""


class _Discard(Protocol):
    """Reads what is left of an answer, within reason, so that the connection ends well.

    Cancelling ``done`` ends the connection.
    """

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._end())
        self._left = _DISCARD

    def dataReceived(self, data: bytes) -> None:
        """Discard response data."""
        self._left -= len(data)
        if self._left < 0:
            self._end()

    def connectionLost(self, reason: Any = None) -> None:
        """The response is complete."""
        if not self.done.called:
            self.done.callback(None)

    def _end(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class WebhookTarget(Destination):
    """See :class:`lbproxy.config.model.WebhookSpec`."""

    def __init__(self, spec: WebhookSpec, reactor: Any, agent: Any = None) -> None:
        super().__init__(reactor)
        self._spec = spec
        self.retries = spec.retries
        where = urlsplit(spec.url)  # chats have the secret in the path
        line = f" (line {spec.where.line})" if spec.where.line else ""
        self.name = f"webhook {where.scheme}://{where.netloc.rpartition('@')[2][:60]}{line}"
        policy = BrowserLikePolicyForHTTPS()
        self._agent = agent or Agent(reactor, policy, connectTimeout=spec.timeout)

    async def send(self, notice: Notice) -> None:
        """See :class:`Destination`."""
        spec = self._spec
        if spec.format == "slack":
            body: dict[str, Any] = {"text": f"lbproxy on {socket.gethostname()}\n{notice.text}"}
        else:
            body = document(notice)
        headers = Headers({"Content-Type": ["application/json"], "User-Agent": ["lbproxy"]})
        if spec.token:
            headers.addRawHeader("Authorization", f"Bearer {spec.token}")
        data = json.dumps(body).encode("ascii")
        asked = self._agent.request(b"POST", spec.url.encode("ascii"), headers, _Body(data))
        asked.addTimeout(spec.timeout, self._reactor, _late)
        try:
            response = await asked
            rest = _Discard()
            response.deliverBody(rest)
            await rest.done.addTimeout(spec.timeout, self._reactor, _late)
        except TimeoutError:
            raise NotifyError(f"no answer within {spec.timeout:g} s") from None
        except Exception as error:
            if _cancelled(error):
                raise CancelledError from None
            raise NotifyError(_words(error)) from None
        if not 200 <= response.code < 300:
            raise NotifyError(f"answered {response.code}")


# -- a mail -------------------------------------------------------------------------------------

_LITERAL = "[127.0.0.1]"
"""What EHLO says if this machine has no name with a domain (RFC 5321 section 4.1.3)."""


class MailTarget(Destination):
    """See :class:`lbproxy.config.model.MailSpec`.

    The talk runs in a thread of the reactor's pool.
    """

    def __init__(self, spec: MailSpec, reactor: Any) -> None:
        super().__init__(reactor)
        self._spec = spec
        self.retries = spec.retries
        self.name = f"mail to {', '.join(spec.to)}"[:80]

    async def send(self, notice: Notice) -> None:
        """See :class:`Destination`."""
        message = EmailMessage()
        message["Subject"] = f"[lbproxy] {_one_line(notice.title)}"
        message["From"] = self._spec.sender
        message["To"] = ", ".join(self._spec.to)
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain=self._spec.sender.rpartition("@")[2] or None)
        message.set_content(f"lbproxy on {socket.gethostname()}\n\n{notice.text}\n")
        # The name is set in the thread: looking it up may ask DNS.  The timeout is that of each
        # answer; the deadline of all of them is below.
        smtp = smtplib.SMTP(local_hostname=_LITERAL, timeout=self._spec.timeout)
        talk: Deferred[Any] = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), self._talk, smtp, message
        )
        talk.addTimeout(self._spec.timeout, self._reactor)
        try:
            await talk
        except TimeoutError:
            raise NotifyError(f"not done within {self._spec.timeout:g} s") from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotifyError(_words(error)) from None
        finally:
            if smtp.sock is not None:  # given up: let the thread go back to the pool
                with suppress(OSError):
                    smtp.sock.shutdown(socket.SHUT_RDWR)

    def _talk(self, smtp: smtplib.SMTP, message: EmailMessage) -> None:
        spec = self._spec
        name = socket.getfqdn()
        smtp.local_hostname = name if "." in name else _LITERAL
        with smtp:
            smtp.connect(spec.server.host, spec.server.port)
            smtp._host = spec.server.host  # type: ignore[attr-defined]  # whose certificate it must be
            smtp.ehlo()
            if spec.tls == "always" or (spec.tls == "auto" and smtp.has_extn("starttls")):
                context = ssl.create_default_context()
                if spec.tls == "auto":  # better than in the clear; who wants more says always
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                smtp.starttls(context=context)
                smtp.ehlo()
            if spec.user:
                smtp.login(spec.user, spec.password)
            smtp.send_message(message)


# -- a program ----------------------------------------------------------------------------------


class _Run(ProcessProtocol):
    """The document on its standard input; what it says is kept in part, for the operators' log.

    ``done`` fires when it has exited and said all, or :data:`_GRACE` after it has exited: what it
    has left behind in the background may hold the pipes. Cancelling it kills.
    """

    def __init__(self, data: bytes, reactor: Any) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._kill())
        self.said = b""
        self._data = data
        self._reactor = reactor
        self._grace: Any = None

    def connectionMade(self) -> None:
        """The program runs."""
        assert self.transport is not None
        self.transport.write(self._data)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep the end of the program's output."""
        self.said = (self.said + data)[-500:]

    errReceived = outReceived

    def processExited(self, reason: Failure) -> None:
        """The program has ended. Output may still follow."""
        self._grace = self._reactor.callLater(_GRACE, self.processEnded, reason)

    def processEnded(self, reason: Failure) -> None:
        """The program has ended and its output is complete."""
        if self._grace is not None and self._grace.active():
            self._grace.cancel()
        self._close()
        if not self.done.called:
            self.done.callback(None) if reason.check(ProcessDone) else self.done.errback(reason)

    def _kill(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            with suppress(ProcessExitedAlready):
                transport.signalProcess("KILL")
        self._close()

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class CommandTarget(Destination):
    """See :class:`lbproxy.config.model.CommandSpec`.

    The program gets the notice as JSON on standard input, and ``LBPROXY_TITLE``, ``LBPROXY_TEXT``
    and ``LBPROXY_SEVERITY`` in its environment, which is otherwise only ``PATH``.
    """

    def __init__(self, spec: CommandSpec, reactor: Any) -> None:
        super().__init__(reactor)
        self._spec = spec
        self.name = f"command {spec.argv[0]}"[:80]

    async def send(self, notice: Notice) -> None:
        """See :class:`Destination`."""
        run = _Run(json.dumps(document(notice)).encode("ascii"), self._reactor)
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LBPROXY_TITLE": _one_line(notice.title),
            "LBPROXY_TEXT": notice.text.replace("\0", ""),
            "LBPROXY_SEVERITY": notice.severity.value,
        }
        argv = self._spec.argv
        try:
            self._reactor.spawnProcess(run, argv[0], argv, env=environment, path="/")
        except OSError as error:
            raise NotifyError(_words(error)) from None
        run.done.addTimeout(self._spec.timeout, self._reactor)
        try:
            await run.done
        except TimeoutError:
            raise NotifyError(f"killed after {self._spec.timeout:g} s") from None
        except CancelledError:
            raise
        except Exception as error:
            said = _one_line(run.said.decode("utf-8", "replace"))
            raise NotifyError(f"{_words(error)}{f': {said}' if said else ''}") from None


def _late(result: Any, seconds: float) -> Any:
    """Return the error of a timeout, whatever the cancelled operation raised."""
    raise TimeoutError(seconds)


def _cancelled(error: BaseException) -> bool:
    """Return whether a failure is a cancellation, which twisted.web wraps."""
    return isinstance(error, CancelledError) or any(
        reason.check(CancelledError) for reason in getattr(error, "reasons", None) or ()
    )


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _words(error: BaseException) -> str:
    """An error of a library in one line."""
    reasons = getattr(error, "reasons", None)
    if reasons:  # twisted.web wraps failures
        error = reasons[0].value
    return _one_line(str(error)) or type(error).__name__
