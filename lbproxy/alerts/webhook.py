"""CONTROL. Notices as a POST to a URL."""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.protocol import Protocol
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from lbproxy.alerts.destination import Destination, NotifyError, document, words_of
from lbproxy.config.model import WebhookSpec
from lbproxy.observe.notices import Notice

__all__ = ["WebhookTarget"]

_DISCARD = 64 * 1024  # maximum number of response bytes that are read


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
    """Reads the rest of a response, up to a limit, so that the connection ends cleanly.

    Cancelling ``done`` closes the connection.
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
        """Note that the response is complete."""
        if not self.done.called:
            self.done.callback(None)

    def _end(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class WebhookTarget(Destination):
    """Sends notices to a URL; see :class:`lbproxy.config.model.WebhookSpec`."""

    def __init__(self, spec: WebhookSpec, reactor: Any, agent: Any = None) -> None:
        super().__init__(reactor)
        self._spec = spec
        self.retries = spec.retries
        where = urlsplit(spec.url)  # chat services put the secret into the path
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
            raise NotifyError(words_of(error)) from None
        if not 200 <= response.code < 300:
            raise NotifyError(f"answered {response.code}")


def _late(result: Any, seconds: float) -> Any:
    """Return the error of a timeout, regardless of the exception of the cancelled operation."""
    raise TimeoutError(seconds)


def _cancelled(error: BaseException) -> bool:
    """Return whether a failure is a cancellation, which twisted.web wraps."""
    return isinstance(error, CancelledError) or any(
        reason.check(CancelledError) for reason in getattr(error, "reasons", None) or ()
    )
