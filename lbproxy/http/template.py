"""PURE. Texts with ``{variables}`` that are filled in for each request, compiled once.

No request can put CR, LF, NUL or another control character into the result. A :data:`Place` escapes
each variable by its position (:mod:`lbproxy.http.place`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from mypy_extensions import i64

from lbproxy.http.context import TemplateContext
from lbproxy.http.escape import Escaper
from lbproxy.http.geo import location_of
from lbproxy.http.message import RequestHead
from lbproxy.http.place import GAP, Place, Shape, Variable, plain

__all__ = ["VARIABLES", "Template", "TemplateContext", "clean", "trimmed"]


Reader = Callable[[TemplateContext], bytes]

_CONTROLS: Final = bytes((*range(0x20), 0x7F))
_CLEAN: Final = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))


def clean(value: bytes) -> bytes:
    """Return ``value`` with a space for every control character (RFC 9110 section 5.5)."""
    at: i64 = 0
    end: i64 = len(value)
    while at < end:
        byte: i64 = value[at]
        if byte < 32 or byte == 127:
            return value.translate(_CLEAN)
        at += 1
    return value


def trimmed(value: bytes) -> bytes:
    """Return ``value`` without the white space around it. Most have none."""
    if value and (value[0] <= 32 or value[len(value) - 1] <= 32):
        return value.strip()
    return value


def _text(value: str) -> bytes:
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace")


def _path(traffic: TemplateContext) -> bytes:
    path = traffic.request.path
    return path if path.startswith(b"/") else b"/"  # OPTIONS * and CONNECT have no path


def _uri(traffic: TemplateContext) -> bytes:
    target = traffic.request.target
    return target if target.startswith(b"/") else b"/"


def _asn(traffic: TemplateContext) -> bytes:
    number = location_of(traffic).asn
    return b"%d" % number if number else b""


VARIABLES: Mapping[str, Reader] = {
    "client_ip": lambda t: _text(t.client_ip),
    "client_port": lambda t: b"%d" % t.client_port,
    "host": lambda t: t.request.host,
    "hostname": lambda t: t.request.hostname,
    "path": _path,
    "query": lambda t: t.request.query,
    "uri": _uri,
    "method": lambda t: t.request.method,
    "scheme": lambda t: _text(t.scheme),
    "sni": lambda t: _text(t.sni),
    "frontend": lambda t: _text(t.frontend_name),
    "backend": lambda t: _text(t.backend_name),
    "server": lambda t: _text(t.server_name),
    "request_id": lambda t: _text(t.request_id),
    "country": lambda t: _text(location_of(t).country),
    "asn": _asn,
}
"""Variables without an argument. ``{header:NAME}``, ``{cookie:NAME}`` and ``{query:NAME}`` read
fields of the request."""

_SHAPES: Mapping[str, Shape] = {
    "path": "path",
    "uri": "path",
    "query": "query",
    "host": "host",
    "hostname": "host",
    "client_ip": "host",
    "client_port": "host",
    "scheme": "host",
    "country": "host",
    "asn": "host",
}

_NAMED: Mapping[str, Callable[[RequestHead, bytes], bytes | None]] = {
    "header": RequestHead.header,
    "cookie": RequestHead.cookie,
    "query": RequestHead.query_value,
}
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_LATE = frozenset({"server"})  # known once a server is picked


def _reader(name: str, *, early: bool) -> Reader:
    """Return the function that reads the variable ``name``. Raises ValueError if it is unknown, or
    known only later.
    """
    if name in _LATE and early:
        raise ValueError(f"{{{name}}} is not known before a server is picked: use it in responses")
    plain = VARIABLES.get(name)
    if plain is not None:
        return plain
    kind, colon, argument = name.partition(":")
    read = _NAMED.get(kind)
    if colon and read is not None:
        if not _TOKEN.match(argument):
            raise ValueError(f"{{{name}}}: {argument!r} is not the name of a {kind}")
        raw = argument.encode("ascii")
        return lambda traffic: read(traffic.request, raw) or b""
    every = [*VARIABLES, *(f"{one}:NAME" for one in _NAMED)]
    close = get_close_matches(name, every, 1, 0.5)
    hint = f"did you mean {{{close[0]}}}?" if close else "one of " + ", ".join(every)
    raise ValueError(f"unknown variable {{{name}}}: {hint}")


def _shape(name: str) -> Shape:
    return "encoded" if name.startswith("query:") else _SHAPES.get(name, "text")


_Part = bytes | Reader


class Template:
    """A compiled text: ``Template("{client_ip} via {frontend}").render(exchange)``.

    ``{{`` and ``}}`` stand for braces. ``place`` decides how variables are escaped, ``literal`` how
    the text itself is. ``before`` and ``after`` are the text around this one, if it is a piece of a
    longer one. ``early`` refuses variables that are only known once a server is picked. ``lines``
    allows line breaks and tabs in ``text``, for bodies; values never contain them. Raises
    ValueError for an invalid ``text``, with the nearest variable.

    ``constant`` is the result if there are no variables, else None. ``outline`` is the text with a
    :data:`GAP` for each variable.
    """

    __slots__ = ("_parts", "constant", "outline", "text")

    def __init__(
        self,
        text: str,
        *,
        place: Place = plain,
        literal: Escaper = bytes,
        before: str = "",
        after: str = "",
        early: bool = False,
        lines: bool = False,
    ) -> None:
        self.text = text
        allowed = "\t\r\n" if lines else ""
        if any((char < " " or char == "\x7f") and char not in allowed for char in text):
            raise ValueError(f"{text!r} contains a control character or a line break")
        pieces = _split(text)
        flat = [piece if isinstance(piece, str) else GAP for piece in pieces]
        self.outline = "".join(flat)
        self._parts: list[_Part] = []
        for at, piece in enumerate(pieces):
            if isinstance(piece, str):
                self._parts.append(literal(piece.encode("utf-8")))
                continue
            (name,) = piece
            read = _reader(name, early=early)
            around = before + "".join(flat[:at]), "".join(flat[at + 1 :]) + after
            escape = place(Variable(name, _shape(name), *around))
            self._parts.append(read if escape is bytes else _escaped(read, escape))
        constants = [part for part in self._parts if isinstance(part, bytes)]
        self.constant: bytes | None = None
        if len(constants) == len(self._parts):
            self.constant = b"".join(constants)

    def render(self, traffic: TemplateContext) -> bytes:
        """Return the text for ``traffic``. Raises ProxyError for a value that would leave its
        place.
        """
        if self.constant is not None:
            return self.constant
        parts = self._parts
        if len(parts) == 1:
            read: Any = parts[0]
            value: bytes = read(traffic)
            return clean(value)
        return b"".join(
            [part if isinstance(part, bytes) else clean(part(traffic)) for part in parts]
        )

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


def _split(text: str) -> list[str | tuple[str]]:
    """Return the pieces of ``text``: literals, and the names of variables as tuples."""
    pieces: list[str | tuple[str]] = []
    literal = ""
    last = 0
    for match in _PIECE.finditer(text):
        literal += text[last : match.start()]
        last = match.end()
        if match[0] in ("{{", "}}"):
            literal += match[0][0]
            continue
        if match[1] is None:
            raise ValueError(f"{text!r}: a single {match[0]!r}; write {match[0] * 2!r} for a brace")
        pieces += [literal, (match[1],)] if literal else [(match[1],)]
        literal = ""
    literal += text[last:]
    return [*pieces, literal] if literal else pieces


def _escaped(read: Reader, escape: Escaper) -> Reader:
    return lambda traffic: escape(read(traffic))
