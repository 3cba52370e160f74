"""CONTROL. The ``http`` check: one request, and the conditions for its response.

Found by :mod:`lbproxy.registry` under its name. Each check uses a new connection
(``Connection: close``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.http.h1 import ResponseParser
from lbproxy.http.message import End, Event, Invalid, Limits, ResponseHead
from lbproxy.interfaces import Env
from lbproxy.probes.base import (
    Draining,
    Probe,
    ProbeTarget,
    Unhealthy,
    hidden,
    unescape,
)

if TYPE_CHECKING:
    from lbproxy.probes.conversation import Conversation

__all__ = ["HttpOptions", "HttpProbe", "parse_statuses"]

ANSWER_BYTES = 64 * 1024
"""Number of body bytes searched for ``body``; the rest of a longer body is ignored."""

_LIMITS = Limits(header_bytes=32 * 1024, header_count=200)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[!-~]+")
_VALUE = re.compile(r"[\t -~]*")
_HOST = re.compile(r"[!-.0-~\[\]]+")

Test = Callable[[bytes], bool]


def parse_statuses(text: str, what: str = "expect") -> frozenset[int]:
    """Parse ``200``, ``2xx``, ``200-299`` or ``2xx-3xx``, or several separated by commas or ``|``.

    Raises ValueError.
    """
    statuses: set[int] = set()
    for item in re.split(r"[,|]", text):
        first, dash, last = item.strip().partition("-")
        low = _statuses(first, item, what)[0]
        high = _statuses(last if dash else first, item, what)[1]
        if low > high:
            raise ValueError(f"{what}: {item.strip()!r} is the wrong way round")
        statuses.update(range(low, high + 1))
    return frozenset(statuses)


def _statuses(word: str, item: str, what: str) -> tuple[int, int]:
    if re.fullmatch("[1-9]xx", word):
        return int(word[0]) * 100, int(word[0]) * 100 + 99
    if re.fullmatch("[1-9][0-9][0-9]", word):
        return int(word), int(word)
    raise ValueError(
        f"{what}: {item.strip()!r} is not a status; write 200, 2xx, 200-299 or 2xx-3xx"
    )


def _header(line: str, what: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    name, value = name.strip(), value.strip()
    if (
        not _TOKEN.fullmatch(name)
        or not _VALUE.fullmatch(value)
        or (what == "header" and not colon)
    ):
        raise ValueError(f'{what}: {line[:80]!r} is not a header; write {what}="Name: value"')
    return name, value


def _extra_headers(text: str) -> bytes:
    lines = []
    for line in text.split("\n") if text else ():
        name, value = _header(line, "header")
        if name.lower() in ("host", "connection", "content-length", "transfer-encoding"):
            advice = "use host=NAME" if name.lower() == "host" else "it is the check's own"
            raise ValueError(f"header: {name} cannot be set here, {advice}")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("ascii")


def _content_test(text: str, what: str, whole: bool) -> Test:
    """Return a test for ``text``: ``~PATTERN`` searches for a regular expression, and other text
    must be equal (``whole``) or contained.
    """
    if text.startswith("~"):
        try:
            search = re.compile(text[1:].encode()).search
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(
                f"{what}: {text[1:81]!r} is not a regular expression: {error}"
            ) from None
        return lambda data: search(data) is not None
    wanted = text.encode()
    return (lambda data: data == wanted) if whole else (lambda data: wanted in data)


@frozen
class HttpOptions:
    """Options of ``check = http``."""

    method: str = option(
        "string", "GET", doc="request method; may be omitted: ``http /healthz``", positional=True
    )
    target: str = option(
        "string", "/", doc="path and query of the request", positional=True, example="/healthz"
    )
    expect: str = option(
        "string",
        "2xx-3xx",
        doc="statuses of a healthy server: ``200``, ``2xx``, ``200-299``; several with commas",
        example="200,204",
    )
    drain: str = option(
        "string",
        "",
        doc=(
            "statuses of a healthy server that wants no new work, written as for ``expect``; the "
            "server is drained"
        ),
        example="404",
    )
    host: str = option("string", "", doc="Host header; empty: the server's sni or address")
    header: str = option(
        "string",
        "",
        doc=r"additional request header; more of them after ``\n`` inside double quotes",
        example="Authorization: Basic bGI6bGI=",
    )
    body: str = option(
        "string",
        "",
        doc="what the first 64 KiB of the body must contain: text, or ``~`` and a regular "
        "expression",
        example="ready",
    )
    expect_header: str = option(
        "string",
        "",
        doc=(
            "header that the response must have: ``Name``, ``Name: value`` or ``Name: ~regular "
            "expression``"
        ),
        example="X-Role: primary",
    )
    send: str = option(
        "string",
        "",
        doc=r"request body to send; ``\r \n \t \0 \\ \xHH`` are escapes",
        example='{"ping":1}',
    )
    statuses: frozenset[int] = hidden()
    draining: frozenset[int] = hidden()
    payload: bytes = hidden()
    line: tuple[str, str] = hidden()
    extra: bytes = hidden()
    body_test: Test | None = hidden()
    header_test: tuple[str, Test | None] | None = hidden()

    def __attrs_post_init__(self) -> None:
        def settle(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        method, target = self.method, self.target
        if method.startswith("/") and target == "/":
            method, target = "GET", method
        if not _TOKEN.fullmatch(method) or method.upper() == "CONNECT":
            raise ValueError(f"method: {method[:80]!r} cannot be used in a check")
        star = target == "*" and method == "OPTIONS"
        if not _TARGET.fullmatch(target) or not (target.startswith("/") or star):
            raise ValueError(
                f"target: {target[:80]!r} is not a path; it begins with / and has no spaces"
            )
        if self.host and not _HOST.fullmatch(self.host):
            raise ValueError(f"host: {self.host[:80]!r} is not a host name")
        settle("line", (method, target))
        settle("statuses", parse_statuses(self.expect))
        settle("draining", parse_statuses(self.drain, "drain") if self.drain else frozenset())
        settle("payload", unescape(self.send))
        if self.send and method in ("GET", "HEAD", "TRACE"):
            raise ValueError(
                f"send: a {method} has no body; write POST, PUT or another method first"
            )
        settle("extra", _extra_headers(self.header))
        settle("body_test", _content_test(self.body, "body", False) if self.body else None)
        if self.body and method == "HEAD":
            raise ValueError("body: the answer to HEAD has none")
        settle("header_test", self._header_test())

    def _header_test(self) -> tuple[str, Test | None] | None:
        if not self.expect_header:
            return None
        name, value = _header(self.expect_header, "expect_header")
        test = _content_test(value, "expect_header", True) if ":" in self.expect_header else None
        return name, test


class HttpProbe(Probe):
    """Healthy if the response to one request has the required status, header and body."""

    name: ClassVar[str] = "http"
    Options: ClassVar[type[Any]] = HttpOptions
    alpn = ("http/1.1",)

    def __init__(self, options: HttpOptions, env: Env) -> None:
        super().__init__(options, env)
        self._has_body = options.line[0] in ("POST", "PUT", "PATCH") or bool(options.payload)

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        conversation.send(self.request(target))
        answer = _Answer(self.options.line[0], self.options.body_test is not None)
        while not answer.done:
            answer.take(await conversation.receive())
        head = answer.head
        assert head is not None
        self._judge(head, answer.body)
        return f"status {head.status}"

    def request(self, target: ProbeTarget) -> bytes:
        """Return the bytes of the request."""
        options: HttpOptions = self.options
        method, path = options.line
        host = options.host or _host(target)
        return (
            (
                f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lbproxy-check\r\n"
                "Accept: */*\r\nConnection: close\r\n"
            ).encode("ascii")
            + options.extra
            + (b"Content-Length: %d\r\n" % len(options.payload) if self._has_body else b"")
            + b"\r\n"
            + options.payload
        )

    def _judge(self, head: ResponseHead, body: bytes) -> None:
        options: HttpOptions = self.options
        if head.status in options.draining:
            raise Draining(f"status {head.status}")
        if head.status not in options.statuses:
            raise Unhealthy(f"status {head.status}, wanted {options.expect}")
        if options.header_test is not None:
            name, test = options.header_test
            values = head.header_values(name.encode("ascii"))
            if not values:
                raise Unhealthy(f"status {head.status} without header {name}")
            if test is not None and not any(test(value) for value in values):
                found = values[0][:80].decode("latin-1")
                raise Unhealthy(f"header {name} is {found!r}, wanted {options.expect_header!r}")
        if options.body_test is not None and not options.body_test(body):
            raise Unhealthy(f"status {head.status}, but {options.body!r} is not in the body")


class _Answer:
    """A response being read. ``done``: enough of it has arrived to judge it."""

    def __init__(self, method: str, want_body: bool) -> None:
        self.head: ResponseHead | None = None
        self.body = b""
        self.done = False
        self._want_body = want_body
        self._parser = ResponseParser(_LIMITS)
        self._parser.begin(method.encode("ascii"))

    def take(self, data: bytes) -> None:
        """Process received data, b"" for the end of the connection. Raises :class:`Unhealthy`."""
        events = self._parser.receive(data) if data else self._parser.eof()
        for event in events:
            self._event(event)
            if self.done:
                return
        if not data:
            raise Unhealthy("closed without a complete answer")

    def _event(self, event: Event) -> None:
        if isinstance(event, Invalid):
            raise Unhealthy(f"not a proper answer: {event.detail}")
        if isinstance(event, ResponseHead):
            if event.status >= 200 or event.status == 101:
                self.head = event
                self.done = not self._want_body or event.status == 101
        elif isinstance(event, bytes):
            self.body += event[: ANSWER_BYTES - len(self.body)]
            self.done = len(self.body) >= ANSWER_BYTES
        elif isinstance(event, End):
            self.done = self.head is not None


def _host(target: ProbeTarget) -> str:
    spec = target.server.spec
    address = spec.target.address
    if spec.sni:
        return spec.sni
    if address is None or address.kind == "unix":
        return "localhost"
    host = f"[{address.host}]" if ":" in address.host else address.host
    usual = 443 if target.tls is not None else 80
    return host if address.port == usual else f"{host}:{address.port}"
