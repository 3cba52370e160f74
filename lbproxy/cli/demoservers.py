"""CONTROL. The servers of ``lbproxy demo``: small HTTP and TCP servers with faults on request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

__all__ = ["DemoAnswer", "DemoControl", "DemoEcho", "Origin"]


class DemoAnswer(Resource):
    """Answers with the name of the origin and a summary of the request."""

    isLeaf = True

    def __init__(self, origin: Origin, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.origin = origin
        self._reactor = reactor

    def render(self, request: Request) -> Any:
        """Answer any method."""
        origin = self.origin
        origin.answered += 1
        request.setHeader(b"content-type", b"application/json")
        if origin.failing:
            request.setResponseCode(500)
            return b'{"error": "told to fail"}\n'
        if request.uri == b"/cached/page":
            request.setHeader(b"content-type", b"text/html")
            request.setHeader(b"link", b"</cached/style.css>; rel=preload; as=style")
            return b'<link rel="stylesheet" href="style.css"><p>A page.</p>\n'
        size = len(request.content.read()) if request.content else 0
        body = {
            "server": origin.name,
            "method": request.method.decode("ascii", "replace"),
            "path": request.uri.decode("ascii", "replace"),
            "body_bytes": size,
            "client": request.getHeader("x-forwarded-for"),
            "scheme": request.getHeader("x-forwarded-proto"),
        }
        data = json.dumps(body).encode() + b"\n"
        if not origin.delay or request.uri == b"/healthz":
            return data
        call = self._reactor.callLater(origin.delay, self._late, request, data)
        request.notifyFinish().addErrback(lambda _: call.active() and call.cancel())
        return NOT_DONE_YET

    @staticmethod
    def _late(request: Request, data: bytes) -> None:
        request.write(data)
        request.finish()


@implementer(IHalfCloseableProtocol)
class DemoEcho(Protocol):
    """Sends each line back after the origin's name. A client's FIN closes the connection after the
    answer.
    """

    def readConnectionLost(self) -> None:
        """Close the connection: the client has sent everything."""
        self.transport.loseConnection()  # type: ignore[union-attr]

    def writeConnectionLost(self) -> None:
        """Do nothing."""

    def connectionMade(self) -> None:
        """Start with an empty line buffer."""
        self._rest = b""

    def dataReceived(self, data: bytes) -> None:
        """Send back complete lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > 65536:
            self.transport.abortConnection()  # type: ignore[union-attr]
            return
        name: bytes = self.factory.origin_name
        self.transport.write(b"".join(name + b": " + line + b"\n" for line in lines))  # type: ignore[union-attr]


@define(eq=False)
class Origin:
    """One small server of the demo."""

    name: str
    port: int
    factory: Any = None
    delay: float = 0.0
    failing: bool = False
    answered: int = 0
    listening: Any = None

    def start(self, reactor: Any) -> None:
        """Listen, without faults."""
        self.failing = False
        if self.listening is None:
            self.listening = reactor.listenTCP(self.port, self.factory, interface="127.0.0.1")

    def stop(self) -> None:
        """Refuse connections and abort open ones, as after a crash."""
        listening, self.listening = self.listening, None
        if listening is not None:
            listening.stopListening()
        for transport in list(self.factory.live):
            transport.abortConnection()


class DemoControl(Resource):
    """Handles ``POST /stop/NAME``, ``/start/NAME`` and ``/fail/NAME``."""

    isLeaf = True

    def __init__(self, origins: dict[str, Origin], reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._origins = origins
        self._reactor = reactor

    def render_POST(self, request: Request) -> bytes:
        """Stop or start a server, or make it fail."""
        verb, _, name = request.uri.decode("ascii", "replace").strip("/").partition("/")
        origin = self._origins.get(name)
        actions: dict[str, Callable[[Origin], None]] = {
            "stop": lambda origin: origin.stop(),
            "start": lambda origin: origin.start(self._reactor),
            "fail": self._fail,
        }
        if origin is None or verb not in actions:
            request.setResponseCode(404)
            return f"use /stop|start|fail/{'|'.join(self._origins)}\n".encode()
        actions[verb](origin)
        return f"{name}: {verb} done\n".encode()

    @staticmethod
    def _fail(origin: Origin) -> None:
        origin.failing = True
