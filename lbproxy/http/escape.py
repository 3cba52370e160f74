"""PURE. Escapes of text from requests in URLs, JSON and markup.

Each function returns bytes that represent the text at that position, and cannot end it.
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
    """Escape text that is a path, a query or both: ``#`` and bytes that are invalid in a URL."""
    return _NOT_URL.sub(_percent, text)


def url_literal(text: bytes) -> bytes:
    """Escape text of the configuration: bytes that are invalid in a URL."""
    return _NOT_URL_LITERAL.sub(_percent, text)


def segment(text: bytes) -> bytes:
    """Escape plain text as one path segment: delimiters (RFC 3986 section 3.3) and ``%``."""
    return _NOT_SEGMENT.sub(_percent, text)


def encoded_segment(text: bytes) -> bytes:
    """Escape percent-encoded text as one path segment."""
    return _NOT_ENCODED_SEGMENT.sub(_percent, text)


def value(text: bytes) -> bytes:
    """Escape plain text as one value of a query: delimiters, ``+`` and ``%``."""
    return _NOT_VALUE.sub(_percent, text)


def encoded_value(text: bytes) -> bytes:
    """Escape percent-encoded text as one value of a query. ``+`` is a plus sign."""
    return _NOT_ENCODED_VALUE.sub(_percent, text)


def markup(text: bytes) -> bytes:
    """Escape text for HTML or XML, as text or within a quoted attribute."""
    return html.escape(text.decode("latin-1")).encode("latin-1")


def _unicode(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def script(text: bytes) -> bytes:
    """Escape text within a string of JSON or JavaScript with any quotes, also within HTML.

    Bytes that are not UTF-8 become U+FFFD.
    """
    return _NOT_SCRIPT.sub(_unicode, text.decode("utf-8", "replace")).encode("utf-8")


def quoted(text: bytes) -> bytes:
    """Return a complete string of JSON or JavaScript."""
    return b'"' + script(text) + b'"'
