"""PURE. Compile ``access_log = ... FORMAT`` to a function that formats a record as one line.

:mod:`lbproxy.service` calls it for each frontend, and :mod:`lbproxy.config.sections` to check a
format. Whatever a client sends, a record is one line of printable ASCII (apart from the text of the
format itself). A client cannot forge another line, leave its quotes, or send control characters to
a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from lbproxy.errors import Kind
from lbproxy.observe.fields import FIELDS, frontend_of
from lbproxy.observe.jsonlog import http_line, tcp_line
from lbproxy.observe.textlog import LinePart, TextLines, constant, field_part, header_part

__all__ = ["FORMATS", "check_format", "choose", "compile_format", "with_location"]

FORMATS = ("json", "common", "combined")

_COMMON = '%{client_ip} - - [%{time_clf}] "%{request_line}" %{status} %{bytes_out}'
_COMBINED = _COMMON + ' "%{referer}" "%{user_agent}"'

_FORMAT_LIMIT = 8 * 1024
_PART = re.compile(r"%%|%\{([^{}]*)\}|%")
_HEADER = re.compile(r"(request|response)\.([!#$%&'*+.^_`|~0-9A-Za-z-]+)")

Line = Callable[[Any], bytes]
"""Formats a record (see :mod:`lbproxy.observe.record`) as a line that ends with a line feed."""


def compile_format(format: str, mode: str, located: bool = False) -> Line:
    """Return the writer for ``json``, ``common``, ``combined`` or a custom format.

    A custom format is text with ``%{name}`` (a field of :data:`lbproxy.observe.fields.FIELDS`),
    ``%{request.Header-Name}``, ``%{response.Header-Name}`` and ``%%``. ``mode``: "http" or "tcp".
    ``located``: ``json`` lines end with the country and the network of the client.
    Raises ValueError if :func:`check_format` refuses the format.
    """
    if format == "json":
        line = http_line() if mode == "http" else tcp_line()
        return with_location(line) if located else line
    if format in FORMATS:
        if mode != "http":
            raise ValueError(
                f"the format {format!r} needs HTTP requests; in tcp "
                "mode use json or a custom format"
            )
        return _compile(_COMBINED if format == "combined" else _COMMON, mode)
    return _compile(format, mode)


def with_location(line: Line) -> Line:
    """Return ``line`` with ``country`` and ``asn`` as its last fields."""

    def located_line(record: Any) -> bytes:
        text = line(record)
        geo = getattr(frontend_of(record), "geo", None)
        if geo is None:
            return text
        place = geo.find(record.client_ip)
        return text[:-2] + _location(place.country, place.asn)

    return located_line


@lru_cache(4096)
def _location(country: str, asn: int) -> bytes:
    """Return the end of a line: a null for an unknown network."""
    return f',"country":{json.dumps(country)},"asn":{asn or "null"}}}\n'.encode("ascii")


def choose(sample: float, min_time: float, random: Callable[[], float]) -> Callable[[Any], bool]:
    """Return a function that decides which records are logged.

    All errors are logged, and a share ``sample`` of the other records that took at least
    ``min_time`` seconds. An error is a status of 500 or more, or any close reason except ``ok`` and
    a reply by lbproxy. ``random`` returns numbers from 0 to below 1.
    """
    good = (Kind.OK, Kind.REPLIED)

    def wanted(record: Any) -> bool:
        if record.close not in good or getattr(record, "status", 0) >= 500:
            return True
        if record.t_total < min_time:
            return False
        return sample >= 1 or random() < sample

    return wanted


def check_format(format: str, mode: str) -> None:
    """Raise ValueError, with the nearest word, if ``format`` cannot be used for ``mode``."""
    compile_format(format, mode)


def _compile(format: str, mode: str) -> Line:
    return TextLines(_parse(format, mode)).line


def _parse(format: str, mode: str) -> list[LinePart]:
    """Return the parts of a line; the last one ends in a line feed."""
    if "%{" not in format:
        raise ValueError(
            f"{format[:80]!r} is not a format: {_choices(format, FORMATS)}or a text with fields "
            f"such as %{{status}}"
        )
    if len(format) > _FORMAT_LIMIT:
        raise ValueError(f"the format is longer than {_FORMAT_LIMIT} characters")
    if not all(c.isprintable() or c == "\t" for c in format):
        raise ValueError("the format contains a control character")
    parts: list[LinePart] = []
    text = ""
    at = 0
    for found in _PART.finditer(format):
        text += format[at : found.start()]
        at = found.end()
        if found[0] == "%%":
            text += "%"
        elif found[1] is None:
            raise ValueError(f"'%' at column {found.start() + 1} is not followed by {{name}} or %")
        else:
            if text:
                parts.append(constant(text))
            text = ""
            parts.append(_field(found[1], mode))
    parts.append(constant(text + format[at:] + "\n"))
    return parts


def _field(name: str, mode: str) -> LinePart:
    field = FIELDS.get(name)
    if field is not None:
        if field.http and mode != "http":
            raise ValueError(f"the field {name!r} exists only for HTTP requests, not in tcp mode")
        return field_part(name)
    header = _HEADER.fullmatch(name)
    if header is not None:
        if mode != "http":
            raise ValueError(f"the header {name!r} exists only in HTTP requests, not in tcp mode")
        return header_part(header[1], header[2])
    known = tuple(n for n, f in FIELDS.items() if mode == "http" or not f.http)
    raise ValueError(f"unknown field {name[:80]!r}; {_choices(name, known)}see docs/logging")


def _choices(word: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(word[:80].lower(), known, 1, 0.5)
    if near:
        return f"did you mean {near[0]!r}? "
    return f"write {', '.join(known)}, " if len(known) <= len(FORMATS) else ""
