"""PURE. Escapes of text that requests bring into URLs, JSON and markup.

Each function returns bytes that mean the same text at that position, and cannot end it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

__all__ = [
    "Escaper",
    "encoded_segment",
    "encoded_value",
    "markup",
    "quoted",
    "script",
    "segment",
    "url",
    "url_literal",
    "value",
]

Escaper = Callable[[bytes], bytes]

_NOT_URL = re.compile(rb"[^!$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")
_NOT_URL_LITERAL = re.compile(rb"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")
_SEGMENT = rb"!$'()*,\-.0-9:@A-Z_a-z~"
_NOT_SEGMENT = re.compile(rb"[^%b]" % _SEGMENT)
_NOT_VALUE = re.compile(rb"[^%b/]" % _SEGMENT)
_BAD_ESCAPE = rb"%(?![0-9A-Fa-f]{2})"
_NOT_ENCODED_SEGMENT = re.compile(rb"%b|[^%b%%]" % (_BAD_ESCAPE, _SEGMENT))
_NOT_ENCODED_VALUE = re.compile(rb"%b|[^%b%%/]" % (_BAD_ESCAPE, _SEGMENT))
_NOT_SCRIPT = re.compile("[\\x00-\\x1f\\x7f\"'\\\\<>&`$\\u2028\\u2029]")


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def url(text: bytes) -> bytes:
    """Text that is a path, a query or both: escapes ``#`` and what no URL may contain."""
    return _NOT_URL.sub(_percent, text)


def url_literal(text: bytes) -> bytes:
    """Text of the configuration: escapes what no URL may contain."""
    return _NOT_URL_LITERAL.sub(_percent, text)


def segment(text: bytes) -> bytes:
    """One path segment, from plain text: escapes delimiters (RFC 3986 section 3.3) and ``%``."""
    return _NOT_SEGMENT.sub(_percent, text)


def encoded_segment(text: bytes) -> bytes:
    """One path segment, from text that is percent-encoded already."""
    return _NOT_ENCODED_SEGMENT.sub(_percent, text)


def value(text: bytes) -> bytes:
    """One value of a query, from plain text: escapes delimiters, ``+`` and ``%``."""
    return _NOT_VALUE.sub(_percent, text)


def encoded_value(text: bytes) -> bytes:
    """One value of a query, from text that is percent-encoded already; ``+`` is a plus sign."""
    return _NOT_ENCODED_VALUE.sub(_percent, text)


def markup(text: bytes) -> bytes:
    """Text, or a quoted attribute, of HTML or XML."""
    return html.escape(text.decode("latin-1")).encode("latin-1")


def _unicode(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def script(text: bytes) -> bytes:
    """The inside of a string of JSON or JavaScript, whatever its quotes, also within HTML.

    Bytes that are not UTF-8 become U+FFFD.
    """
    return _NOT_SCRIPT.sub(_unicode, text.decode("utf-8", "replace")).encode("utf-8")


def quoted(text: bytes) -> bytes:
    """A complete string of JSON or JavaScript."""
    return b'"' + script(text) + b'"'
