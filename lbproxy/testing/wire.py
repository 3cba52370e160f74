"""PURE. A small HTTP/1.1 message reader for the test kit's own clients and origins.

It is deliberately independent of :mod:`lbproxy.http`, so that tests can detect mistakes there. It
reads the messages of well-behaved peers, and raises :class:`WireError` for everything else.
"""

from __future__ import annotations

from attrs import define, field

__all__ = ["Message", "MessageReader", "WireError", "render"]

Headers = list[tuple[str, str]]


class WireError(AssertionError):
    """The received bytes are not valid HTTP/1."""


@define(eq=False)
class Message:
    """A request or response. Header names keep their case, and ``header`` ignores it."""

    start: str = ""
    headers: Headers = field(factory=list)
    body: bytes = b""
    trailers: Headers = field(factory=list)

    def header(self, name: str, default: str = "") -> str:
        """Return the first value of the header ``name``."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return default


class MessageReader:
    """Converts bytes to :class:`Message` objects.

    ``responses``: read responses. Then :meth:`expect` must be called for every request, in order,
    because a response to HEAD has no body. ``interim`` collects 1xx responses.
    """

    def __init__(self, *, responses: bool) -> None:
        self.buffer = b""
        self.interim: list[Message] = []
        self.opaque = False  # after a 101, ``buffer`` is not HTTP/1 any more
        self._responses = responses
        self._methods: list[str] = []
        self._head: Message | None = None
        self._until_close = False

    def expect(self, method: str) -> None:
        """Note the method of the request whose response comes next."""
        self._methods.append(method)

    @property
    def head(self) -> Message | None:
        """The received part of a message whose head is complete and whose body is not."""
        return self._head

    def receive(self, data: bytes) -> list[Message]:
        """Return the messages that ``data`` completes."""
        self.buffer += data
        done: list[Message] = []
        while not self.opaque:
            message = self._next()
            if message is None:
                break
            done.append(message)
        return done

    def close(self) -> Message | None:
        """Return the response that the end of the connection completes, if any.

        Raises :class:`WireError` if the connection ended in the middle of a message.
        """
        head, self._head = self._head, None
        if head is not None and self._until_close:
            head.body, self.buffer = self.buffer, b""
            return head
        if (head is not None or self.buffer) and not self.opaque:
            raise WireError(f"connection closed in mid message: {self.buffer[:80]!r}")
        return None

    def _next(self) -> Message | None:
        if self._head is None and not self._read_head():
            return None
        head = self._head
        assert head is not None
        complete = self._read_body(head)
        if not complete:
            return None
        self._head = None
        if self._responses and _status(head) == 101:
            self.opaque = True
        elif self._responses and _status(head) < 200:
            self.interim.append(head)
            return self._next()
        if self._responses and self._methods:
            self._methods.pop(0)
        return head

    def _read_head(self) -> bool:
        raw, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return False
        start, *lines = raw.decode("latin-1").split("\r\n")
        self._head = Message(start=start, headers=_fields(lines))
        self.buffer = rest
        return True

    def _read_body(self, head: Message) -> bool:
        self._until_close = False
        if self._responses and self._bodyless(head):
            return True
        if "chunked" in head.header("transfer-encoding").lower():
            return self._read_chunked(head)
        length = head.header("content-length")
        if length:
            return self._read_exactly(head, int(length))
        self._until_close = self._responses
        return not self._responses

    def _bodyless(self, head: Message) -> bool:
        status = _status(head)
        method = self._methods[0] if self._methods else ""
        return status < 200 or status in (204, 304) or method == "HEAD"

    def _read_exactly(self, head: Message, length: int) -> bool:
        if len(self.buffer) < length:
            return False
        head.body, self.buffer = self.buffer[:length], self.buffer[length:]
        return True

    def _read_chunked(self, head: Message) -> bool:
        while True:
            line, newline, rest = self.buffer.partition(b"\r\n")
            if not newline:
                return False
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise WireError(f"not a chunk size: {line!r}") from None
            if size == 0:
                return self._read_trailers(head, rest)
            if len(rest) < size + 2:
                return False
            if rest[size : size + 2] != b"\r\n":
                raise WireError(f"chunk of {size} bytes does not end where it should")
            head.body += rest[:size]
            self.buffer = rest[size + 2 :]

    def _read_trailers(self, head: Message, rest: bytes) -> bool:
        if rest.startswith(b"\r\n"):
            self.buffer = rest[2:]
            return True
        raw, end, after = rest.partition(b"\r\n\r\n")
        if not end:
            return False
        head.trailers = _fields(raw.decode("latin-1").split("\r\n"))
        self.buffer = after
        return True


def render(start: str, headers: Headers, body: bytes) -> bytes:
    """Return a message as bytes, with exactly the caller's headers."""
    lines = [start, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def _fields(lines: list[str]) -> Headers:
    fields: Headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise WireError(f"not a header line: {line!r}")
        fields.append((name, value.strip(" \t")))
    return fields


def _status(head: Message) -> int:
    parts = head.start.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise WireError(f"not a status line: {head.start!r}")
    return int(parts[1])
