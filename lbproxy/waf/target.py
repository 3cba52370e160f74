"""PURE. Splits a request into the parts that rules examine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from lbproxy.http.message import RequestHead
from lbproxy.waf.decode import one_line, spellings, unquoted
from lbproxy.waf.rule import Zone

__all__ = [
    "Part",
    "Parts",
    "add_argument",
    "head_parts",
    "is_plain",
    "joined",
    "pairs_of",
    "with_body",
]

Part = tuple[str, bytes]
"""The name of a part, such as ``ARGS:q``, and its value."""

Parts = Mapping[Zone, list[Part]]

MOST_PAIRS: Final = 1000
"""Maximum number of arguments with separate names; the rest share one name."""

_LINE_FEED: Final = re.compile(rb"%0a", re.IGNORECASE)

_UNJUDGED: Final = frozenset(
    (
        *(b"accept", b"accept-encoding", b"accept-language", b"authorization", b"cache-control"),
        *(b"connection", b"content-length", b"cookie", b"date", b"if-modified-since"),
        *(b"if-none-match", b"if-unmodified-since", b"keep-alive", b"proxy-authorization"),
        *(b"sec-websocket-key", b"te", b"transfer-encoding", b"upgrade"),
    )
)
"""Headers with a fixed form. They are inspected only if they contain a character outside it."""

_ODD: Final = (
    *(b"${", b"() {", b"%{", b"<", b"%24%7b", b"'", b"`"),
    *(b"..", b"%2e", b"%2E", b"|", b"$(", b"{{"),
)


def head_parts(head: RequestHead) -> dict[Zone, list[Part]]:
    """Return the parts of a request without its body."""
    target, query = head.target, b""
    path, mark, rest = target.partition(b"?")
    if mark:
        query = rest
    cookies: list[Part] = []
    headers: list[Part] = []
    for name, value in head.pairs():
        low = name.lower()
        if low == b"cookie":
            _add_cookies(value, cookies)
        elif low not in _UNJUDGED or any(mark in value for mark in _ODD):
            headers.append((f"HEADERS:{low.decode('latin-1')}", one_line(value)))
    return {
        Zone.METHOD: [("METHOD", head.method)],
        Zone.TARGET: [("TARGET", target)],
        Zone.PATH: [("PATH", one_line(unquoted(path)))],
        Zone.ARGS: pairs_of(query) if query else [],
        Zone.COOKIES: cookies,
        Zone.HEADERS: headers,
    }


def with_body(head: Mapping[Zone, list[Part]], body: list[Part]) -> dict[Zone, list[Part]]:
    """Return the parts of a head with the arguments of its body after those of the query."""
    return {**head, Zone.ARGS: head[Zone.ARGS] + body}


def _add_cookies(value: bytes, cookies: list[Part]) -> None:
    pieces = value.split(b";", MOST_PAIRS)
    rest = pieces.pop() if len(pieces) > MOST_PAIRS else b""
    for piece in pieces:
        name, _, content = piece.strip().partition(b"=")
        label = name.decode("latin-1")
        cookies.append((f"COOKIES:{label}", one_line(unquoted(content))))
        if b"+" in content:  # PHP treats it as a blank
            text = one_line(unquoted(content.replace(b"+", b" ")))
            cookies.append((f"COOKIES:{label}", text))
        if not name.replace(b"-", b"").replace(b"_", b"").isalnum():
            cookies.append((f"COOKIES_NAMES:{label}", one_line(unquoted(name))))
    if rest:
        cookies.append(("COOKIES", _lines([one.strip() for one in rest.split(b";")])))


def pairs_of(query: bytes) -> list[Part]:
    """Return names and values of a query, or of a body of a form."""
    found: list[Part] = []
    pieces = query.replace(b"+", b" ").split(b"&", MOST_PAIRS)
    rest = pieces.pop() if len(pieces) > MOST_PAIRS else b""
    for piece in pieces:
        name, equals, value = piece.partition(b"=")
        if not equals:
            found.append(("ARGS_NAMES", one_line(unquoted(name))))
            continue
        add_argument(found, unquoted(name), unquoted(value))
    if rest:
        found.append(("ARGS", _lines(rest.split(b"&"))))
    return found


def _lines(pairs: Iterable[bytes]) -> bytes:
    """Return names and values as one part, each on a line, so that rules find their beginnings."""
    lines = b"\n".join([one_line(pair).replace(b"=", b"\n", 1) for pair in pairs])
    return unquoted(_LINE_FEED.sub(b"%20", lines))


def add_argument(found: list[Part], name: bytes, value: bytes) -> None:
    """Add the value of an argument, and its name if that has characters other than letters and
    digits.
    """
    label = one_line(name).decode("utf-8", "replace")[:100]
    if value:
        found += [(f"ARGS:{label}", one) for one in spellings(value)]
    if not is_plain(name):
        found.append((f"ARGS_NAMES:{label}", one_line(name)))


def is_plain(name: bytes) -> bool:
    """Return whether a name contains nothing that rules could find.

    Prototypes of JavaScript and properties of Java classes have names of plain letters.
    """
    return name.replace(b"_", b"").replace(b"-", b"").isalnum() and b"proto" not in name


def joined(parts: Iterable[Part]) -> bytes:
    """Return the values, one per line."""
    return b"\n".join(value for _, value in parts)
