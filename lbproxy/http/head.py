"""PURE. The heads of requests and responses: raw bytes, a table of offsets and a list of edits.

A head that came in is :class:`~lbproxy.http.scan.Lines`, which nobody changes, and edits over them:
known names and single lines that are left out, and lines that are added behind. Heads made from it
for the other side share the lines. Nothing of this shows: ``headers``, ``header()`` and the others
read the result.

``headers`` is a real list, for filters. Whoever asks for it may change it and keep it, so from then
on the list is the truth, and the head is written from it. The methods do not need it.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i64_le, write_i64_le
from mypy_extensions import i64

from lbproxy.http.known import COOKIE, HOST, FieldName, bit, field_name
from lbproxy.http.scan import EMPTY, MASK, ROW, Lines, lines_of

__all__ = ["Head", "Headers", "Ours", "RequestHead", "ResponseHead"]

Headers = list[tuple[bytes, bytes]]
"""Header lines in the order they came; repeated names stay separate lines."""

_MOST_GONE: Final = 62  # a line behind this one is not left out by its bit
_FEW: Final = 8  # names that are looked for one by one; more are removed in one pass
_COOKIE_ROW: Final = 16
_COOKIE: Final = field_name(b"cookie")


class Ours:
    """Lines that lbproxy adds to heads:

    ``pairs``, and ``encoded`` as they are sent. Nobody changes them.

    ``te``: TE is among them.
    """

    __slots__ = ("encoded", "pairs", "te")

    def __init__(self, pairs: Headers, encoded: bytes, te: bool = False) -> None:
        self.pairs = pairs
        self.encoded = encoded
        self.te = te


class Head:
    """Header access shared by requests and responses.

    For the writers and the forwarder: ``lines``, less the known names in ``without`` (a set of
    bits) and the lines in ``gone`` (by index); ``host_line`` stands for the value of the Host line,
    or for a first Host line where there is none; then the lines ``before``, ``ours`` and ``added``.
    All of it counts only while ``listed`` is false.
    """

    __slots__ = (
        "_list",
        "added",
        "before",
        "gone",
        "host_line",
        "lines",
        "ours",
        "without",
    )

    def __init__(self, headers: Headers | None, lines: Lines) -> None:
        self._list = headers
        self.lines = lines
        self.without: i64 = 0
        self.gone: i64 = 0
        self.host_line: bytes | None = None
        self.before: Headers | None = None
        self.ours: Ours | None = None
        self.added: Headers | None = None

    # -- as a list ------------------------------------------------------------------------------

    @property
    def headers(self) -> Headers:
        """The lines as (name, value), to read and to change."""
        found = self._list
        if found is None:
            found = self._list = self.pairs()
        return found

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._list = headers

    @property
    def listed(self) -> bool:
        """Whether somebody has the list, which may be different from ``lines``."""
        return self._list is not None

    def pairs(self) -> Headers:
        """The lines as (name, value), a new list."""
        if self._list is not None:
            return self._list.copy()
        out: Headers = []
        lines = self.lines
        host = self.host_line
        if host is not None and not self.present >> HOST & 1:
            out.append((b"Host", host))
        index: i64 = 0
        while index < lines.count:
            if self._stands(index):
                if host is not None and lines.number_at(index) == HOST:
                    out.append((lines.name_at(index), host))
                else:
                    out.append((lines.name_at(index), lines.value_at(index)))
            index += 1
        out += self._behind()
        return out

    def settled(self) -> Head:
        """Return this head, or one with lines made of its list.

        ValueError or TypeError for what cannot be written.
        """
        return self if self._list is None else Head(None, lines_of(self._list))

    # -- one name -------------------------------------------------------------------------------

    def header(self, name: bytes) -> bytes | None:
        """The first value of ``name`` (any case), or None."""
        return self.first(field_name(name))

    def header_values(self, name: bytes) -> list[bytes]:
        """Every value of ``name``, in order."""
        return self.every(field_name(name))

    def first(self, name: FieldName) -> bytes | None:
        """As :meth:`header`, for a name that is prepared."""
        if self._list is not None:
            return _first(self._list, name)
        if name.number == HOST and self.host_line is not None:
            return self.host_line
        lines = self.lines
        index = lines.find(name)
        while index >= 0:
            if self._stands(index):
                return lines.value_at(index)
            index = lines.find(name, index + 1)
        if self.before is None and self.ours is None and self.added is None:
            return None
        return _first(self._behind(), name)

    def place(self, name: FieldName) -> i64:
        """Where in ``lines.raw`` the first value of ``name`` is: start, and end in the upper 32
        bits.

        ``name``: ``single``, and not Host. -1: there is none. -2: ask :meth:`first`, as there are
        edits.
        """
        if self._list is not None or self.added is not None:
            return -2
        if self.before is not None or self.ours is not None:
            return -2
        if not self.present >> name.number & 1:
            return -1
        lines = self.lines
        return read_i64_le(lines.table, lines.find_number(name.number) * ROW + 8)

    def every(self, name: FieldName) -> list[bytes]:
        """As :meth:`header_values`, for a name that is prepared."""
        if self._list is not None:
            return _every(self._list, name)
        found: list[bytes] = []
        if name.number == HOST and self.host_line is not None:
            found.append(self.host_line)
        else:
            lines = self.lines
            index = lines.find(name)
            while index >= 0:
                if self._stands(index):
                    found.append(lines.value_at(index))
                index = lines.find(name, index + 1)
        if self.before is not None or self.ours is not None or self.added is not None:
            found += _every(self._behind(), name)
        return found

    def set_header(self, name: bytes, value: bytes) -> None:
        """Replace every line of ``name`` by one."""
        self.remove_header(name)
        self.add_header(name, value)

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add one more line of ``name``."""
        if self._list is not None:
            self._list.append((name, value))
        elif self.added is None:
            self.added = [(name, value)]
        else:
            self.added.append((name, value))

    def remove_header(self, name: bytes) -> None:
        """Remove every line of ``name``; no error if there is none."""
        self.remove(field_name(name))

    def remove_headers(self, names: frozenset[bytes]) -> None:
        """Remove every line of ``names``, which are in lower case.

        Linear in the names plus the lines.
        """
        if len(names) <= _FEW:
            for name in names:
                self.remove(field_name(name))
        else:
            self._list = [pair for pair in self.pairs() if pair[0].lower() not in names]

    def remove(self, name: FieldName) -> None:
        """As :meth:`remove_header`, for a name that is prepared."""
        if self._list is not None:
            self._list = _less(self._list, name)
            return
        if name.number == HOST:
            self.host_line = None
        lines = self.lines
        if name.single:
            if lines.present >> name.number & 1:
                self.without |= bit(name.number)
        else:
            index = lines.find(name)
            while index >= 0:
                if index >= _MOST_GONE:
                    self._list = _less(self.pairs(), name)
                    return
                self.gone |= bit(index)
                index = lines.find(name, index + 1)
        if self.ours is not None and _every(self.ours.pairs, name):
            self.before = [*(self.before or ()), *self.ours.pairs]
            self.ours = None
        if self.before is not None:
            self.before = _less(self.before, name)
        if self.added is not None:
            self.added = _less(self.added, name)

    @property
    def present(self) -> i64:
        """The set of known names in ``lines`` that are not left out."""
        return self.lines.present & ~self.without

    def drop(self, numbers: i64) -> None:
        """Remove every line whose known name is in the set ``numbers``."""
        if self._list is not None:
            self._list = _outside(self._list, numbers)
            return
        self.without |= self.lines.present & numbers
        if self.before is not None:
            self.before = _outside(self.before, numbers)
        if self.added is not None:
            self.added = _outside(self.added, numbers)

    @property
    def untouched_lines(self) -> bool:
        """Whether the head is ``lines`` less what is left out: nothing is added or listed."""
        return (
            self._list is None
            and self.before is None
            and self.ours is None
            and self.added is None
            and self.host_line is None
        )

    def next_line(self, name: FieldName, index: i64) -> i64:
        """The first line of ``name`` in ``lines`` from ``index`` on that is not left out; or -1."""
        lines = self.lines
        found = lines.find(name, index)
        while found >= 0 and not self._stands(found):
            found = lines.find(name, found + 1)
        return found

    def _stands(self, index: i64) -> bool:
        """Whether a line of ``lines`` is not left out."""
        if self.without >> self.lines.number_at(index) & 1:
            return False
        return index >= _MOST_GONE or not self.gone >> index & 1

    def _behind(self) -> Headers:
        """Return the lines after ``lines``, as a new list."""
        out: Headers = []
        if self.before is not None:
            out += self.before
        if self.ours is not None:
            out += self.ours.pairs
        if self.added is not None:
            out += self.added
        return out

    # -- the wire -------------------------------------------------------------------------------

    def copy_lines(self, writer: BytesWriter, without: i64) -> None:
        """Write those of ``lines`` that are not left out, and whose names are not in ``without``,
        as they came.
        """
        lines = self.lines
        raw = lines.raw
        table = lines.table
        without |= self.without
        gone: i64 = self.gone
        end: i64 = lines.count * ROW
        run: i64 = -1  # where the run of lines to copy began
        at: i64 = 0
        while at < end:
            word = read_i64_le(table, at)
            drop = without >> ((word >> 32) & 255) & 1
            if gone and at < _MOST_GONE * ROW:
                drop |= gone >> (at // ROW) & 1
            if drop:
                if run >= 0:
                    writer.write(raw[run : word & MASK])
                    run = -1
            elif run < 0:
                run = word & MASK
            at += ROW
        if run >= 0:
            writer.write(raw[run : len(raw) - 2])


def _first(headers: Headers, name: FieldName) -> bytes | None:
    low = name.low
    for key, value in headers:
        if len(key) == name.size and key.lower() == low:
            return value
    return None


def _every(headers: Headers, name: FieldName) -> list[bytes]:
    low = name.low
    found: list[bytes] = []
    for key, value in headers:
        if len(key) == name.size and key.lower() == low:  # most differ in length
            found.append(value)
    return found


def _less(headers: Headers, name: FieldName) -> Headers:
    low = name.low
    left: Headers = []
    for pair in headers:
        if len(pair[0]) != name.size or pair[0].lower() != low:
            left.append(pair)
    return left


def _outside(headers: Headers, numbers: i64) -> Headers:
    return [pair for pair in headers if not numbers >> field_name(pair[0]).number & 1]


class RequestHead(Head):
    """The head of one request, after the codec has checked and normalised it.

    ``target`` is in origin form (``/path?query``), ``*`` for OPTIONS, or ``host:port`` for CONNECT;
    an absolute-form target has been split into ``scheme``, ``host`` and origin form (RFC 9112
    §3.2). ``host`` is the effective authority, lower case, with its port if one was sent;
    ``headers`` still holds a ``Host`` line equal to it. ``version`` is 10, 11 or 20.

    ``length`` is the body's length in bytes, None when it is not known in advance (chunked, HTTP/2
    without content-length); 0 means no body. ``keep_alive`` is what the client asked for.
    ``upgrade`` is the lower-cased Upgrade value if the request asked for a protocol switch (and
    ``Connection: upgrade`` said so), else None. ``expect_continue``: the client waits for 100.
    ``nominated`` are the lower-cased field names that Connection names beyond close, keep-alive and
    upgrade.

    ``checked`` is the target that the codec has checked, if any: only another one is checked before
    it is sent.
    """

    __slots__ = (
        "checked",
        "expect_continue",
        "host",
        "keep_alive",
        "length",
        "method",
        "nominated",
        "scheme",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Headers | None,
        version: int = 11,
        host: bytes = b"",
        scheme: bytes = b"http",
        length: int | None = 0,
        keep_alive: bool = True,
        upgrade: bytes | None = None,
        expect_continue: bool = False,
        nominated: tuple[bytes, ...] = (),
        lines: Lines = EMPTY,
    ) -> None:
        super().__init__(headers, lines)
        self.method = method
        self.target = target
        self.version = version
        self.host = host
        self.scheme = scheme
        self.length = length
        self.keep_alive = keep_alive
        self.upgrade = upgrade
        self.expect_continue = expect_continue
        self.nominated = nominated
        self.checked: bytes | None = None

    def __repr__(self) -> str:
        return (
            f"<request {self.method!r} {self.target!r} {self.host!r} {self.pairs()!r} "
            f"{self.length}>"
        )

    @property
    def path(self) -> bytes:
        """The target up to the ``?``."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """The target after the ``?``, without it; empty if none."""
        return self.target.partition(b"?")[2]

    @property
    def hostname(self) -> bytes:
        """``host`` without its port and without a trailing dot; an IPv6 literal keeps its
        brackets.
        """
        host = self.host
        if host.find(b":") < 0 or host.endswith(b"]"):  # "in" costs six times as much
            return host.rstrip(b".")
        return host.rpartition(b":")[0].rstrip(b".")

    def cookie(self, name: bytes) -> bytes | None:
        """The first cookie ``name`` (RFC 6265 §4.2.1), without surrounding quotes, or None."""
        if not self._in_place():
            found = self._cookies_of(name)
            return found[0] if found else None
        table = self._cookie_table()
        raw = self.lines.raw
        at: i64 = 0
        while at < len(table):
            if _is(raw, read_i64_le(table, at), name):
                word = read_i64_le(table, at + 8)
                return raw[word & MASK : word >> 32]
            at += _COOKIE_ROW
        return None

    def cookies(self, name: bytes) -> list[bytes]:
        """Every cookie ``name``, in order, each without surrounding quotes."""
        if not self._in_place():
            return self._cookies_of(name)
        found: list[bytes] = []
        table = self._cookie_table()
        raw = self.lines.raw
        at: i64 = 0
        while at < len(table):
            if _is(raw, read_i64_le(table, at), name):
                word = read_i64_le(table, at + 8)
                found.append(raw[word & MASK : word >> 32])
            at += _COOKIE_ROW
        return found

    def _in_place(self) -> bool:
        """Whether the Cookie lines are those of ``lines``."""
        if self.listed or self.without >> COOKIE & 1:
            return False
        if self.added is None and self.before is None:
            return True
        return not _every(self._behind(), _COOKIE)

    def _cookie_table(self) -> bytes:
        lines = self.lines
        table = lines.cookies
        if table is None:
            table = lines.cookies = _cookie_rows(lines)
        return table

    def _cookies_of(self, name: bytes) -> list[bytes]:
        found: list[bytes] = []
        for line in self.header_values(b"cookie"):
            for part in line.split(b";"):
                key, eq, value = part.strip().partition(b"=")
                if eq and key == name:
                    found.append(value.strip(b'"'))
        return found

    def query_value(self, name: bytes) -> bytes | None:
        """The first raw (not percent-decoded) query parameter ``name``, or None."""
        for part in self.query.split(b"&"):
            key, _, value = part.partition(b"=")
            if key == name:
                return value
        return None


def _is(raw: bytes, word: i64, name: bytes) -> bool:
    """Whether the name of a cookie is ``name``; ``word``: where it is, 32 bits for its start, then
    its end.
    """
    start = word & MASK
    size = (word >> 32) - start
    if size != len(name):
        return False
    at: i64 = 0
    while at < size:
        if raw[start + at] != name[at]:
            return False
        at += 1
    return True


def _cookie_rows(lines: Lines) -> bytes:
    """The cookies of a request: two words each, where name and value start (32 bits) and end."""
    writer = BytesWriter()
    if lines.present >> COOKIE & 1:
        index: i64 = 0
        while index < lines.count:
            if lines.number_at(index) == COOKIE:
                word = read_i64_le(lines.table, index * ROW + 8)
                _add_cookies(writer, lines.raw, word & MASK, word >> 32)
            index += 1
    return writer.getvalue()


def _add_cookies(writer: BytesWriter, raw: bytes, at: i64, end: i64) -> None:
    """Add the cookies of one line; what has no ``=`` is none."""
    while at < end:
        start: i64 = at
        equals: i64 = -1
        while at < end and raw[at] != 59:
            if equals < 0 and raw[at] == 61:
                equals = at
            at += 1
        stop: i64 = at
        at += 1
        if equals < 0:
            continue
        while raw[start] == 32 or raw[start] == 9:
            start += 1
        while stop > equals + 1 and (raw[stop - 1] == 32 or raw[stop - 1] == 9):
            stop -= 1
        value: i64 = equals + 1
        while value < stop and raw[value] == 34:
            value += 1
        while stop > value and raw[stop - 1] == 34:
            stop -= 1
        write_i64_le(writer, start | (equals << 32))
        write_i64_le(writer, value | (stop << 32))


class ResponseHead(Head):
    """The head of one response.

    ``status`` 100 to 999; ``version`` 10, 11 or 20. ``length`` is the body's length in bytes, 0
    when it has none (HEAD, 204, 304, 1xx), None when it is chunked or runs until close;
    ``until_close`` tells which. For a HEAD or 304 answer the Content-Length *line* stays in
    ``headers`` and describes the body not sent. ``keep_alive``: the server will take another
    request on this connection. ``chunked``: the body came with the chunked coding.
    """

    __slots__ = (
        "chunked",
        "keep_alive",
        "length",
        "nominated",
        "reason",
        "status",
        "until_close",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        status: int,
        headers: Headers | None,
        reason: bytes = b"",
        version: int = 11,
        length: int | None = 0,
        keep_alive: bool = True,
        chunked: bool = False,
        until_close: bool = False,
        upgrade: bytes | None = None,
        nominated: tuple[bytes, ...] = (),
        lines: Lines = EMPTY,
    ) -> None:
        super().__init__(headers, lines)
        self.status = status
        self.reason = reason
        self.version = version
        self.length = length
        self.keep_alive = keep_alive
        self.chunked = chunked
        self.until_close = until_close
        self.upgrade = upgrade
        self.nominated = nominated

    def __repr__(self) -> str:
        return f"<response {self.status} {self.reason!r} {self.pairs()!r} {self.length}>"
