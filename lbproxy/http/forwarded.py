"""PURE. The Forwarded header (RFC 7239), read from the right, for :mod:`lbproxy.http.forward`."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["elements"]

_ELEMENT_MAX: Final = 1024  # maximum length of one element in bytes
_TRIES: Final = 128  # maximum number of commas examined

# possessive groups match wrongly before Python 3.11.5 (gh-106052); single characters do not
_VALUE: Final = (
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z:\[\]]++"  # unquoted addresses with ports occur too
    rb'|"[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]*+'
    rb'(?:\\[\t \x21-\x7e\x80-\xff][\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]*+)*")'
)
_PAIR: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++=" + _VALUE
_ELEMENT: Final = re.compile(
    rb"[ \t]*+(?:;[ \t]*+)*" + _PAIR + rb"(?:[ \t]*+;[ \t]*+(?:" + _PAIR + rb")?)*[ \t]*+"
)
_EACH: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++)=(" + _VALUE + rb")")
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


def elements(value: bytes, most: int) -> list[dict[bytes, bytes]]:
    """Return the last elements of ``value``, right-most first.

    An element is returned as its parameters by lower-case name, without quotes. At most ``most``
    elements are returned. An element that is malformed or repeats a parameter (RFC 7239 §4) is
    returned as an empty dictionary and ends the list.

    A proxy appends its element to text from the client, so this reads from the right: an element is
    the shortest text after a comma that matches the grammar. A comma inside a quoted string cannot
    start such a text, because an odd number of quotes follows it.
    """
    found: list[dict[bytes, bytes]] = []
    end = len(value)
    tries = 0
    while end >= 0 and len(found) < most:
        comma = end
        parameters: dict[bytes, bytes] | None = None
        while comma >= 0 and parameters is None:
            tries += 1
            comma = value.rfind(b",", 0, comma)
            if tries > _TRIES or end - comma > _ELEMENT_MAX:
                comma = -1
                break
            parameters = _parameters(value[comma + 1 : end])
        if parameters is None:
            found.append({})
            break
        if parameters or value[comma + 1 : end].strip(b" \t"):
            found.append(parameters)
            if not parameters:
                break
        end = comma
    return found


def _parameters(text: bytes) -> dict[bytes, bytes] | None:
    """Return the parameters of an element; empty if it is blank or repeats one, None if it is
    malformed.
    """
    if not text.strip(b" \t"):
        return {}
    if _ELEMENT.fullmatch(text) is None:
        return None
    pairs = [(name.lower(), _unquoted(value)) for name, value in _EACH.findall(text)]
    parameters = dict(pairs)
    return parameters if len(parameters) == len(pairs) else {}


def _unquoted(value: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", value[1:-1]) if value.startswith(b'"') else value
