"""CONTROL. Notices as mails, sent by ``smtplib`` in a thread."""

from __future__ import annotations

import smtplib
import socket
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.threads import deferToThreadPool

from lbproxy.alerts.destination import Destination, NotifyError, one_line, words_of
from lbproxy.config.model import MailSpec
from lbproxy.observe.notices import Notice

__all__ = ["MailTarget"]

_LITERAL = "[127.0.0.1]"
"""Name in EHLO if this machine has no name with a domain (RFC 5321 section 4.1.3)."""


class MailTarget(Destination):
    """Sends notices by mail; see :class:`lbproxy.config.model.MailSpec`.

    The SMTP dialogue runs in a thread of the reactor's pool.
    """

    def __init__(self, spec: MailSpec, reactor: Any) -> None:
        super().__init__(reactor)
        self._spec = spec
        self.retries = spec.retries
        self.name = f"mail to {', '.join(spec.to)}"[:80]

    async def send(self, notice: Notice) -> None:
        """See :class:`Destination`."""
        message = EmailMessage()
        message["Subject"] = f"[lbproxy] {one_line(notice.title)}"
        message["From"] = self._spec.sender
        message["To"] = ", ".join(self._spec.to)
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain=self._spec.sender.rpartition("@")[2] or None)
        message.set_content(f"lbproxy on {socket.gethostname()}\n\n{notice.text}\n")
        # The name is set in the thread, because its look-up may query DNS. The timeout applies to
        # each answer; the deadline of all of them is below.
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
            raise NotifyError(words_of(error)) from None
        finally:
            if smtp.sock is not None:  # cancelled: return the thread to the pool
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
                # opportunistic: better than clear text; ``always`` requires verification
                if spec.tls == "auto":
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                smtp.starttls(context=context)
                smtp.ehlo()
            if spec.user:
                smtp.login(spec.user, spec.password)
            smtp.send_message(message)
