"""PURE. Refused HTTP/1 requests: the head for the log, and the answer to other versions."""

from __future__ import annotations

import re
from typing import Final

from lbproxy.errors import Kind
from lbproxy.http.h1_body import BadMessage
from lbproxy.http.h1_parser import METHOD_MAX
from lbproxy.http.message import RequestHead
from lbproxy.http.syntax import is_token, normal_host

__all__ = ["bad_version", "refused_head"]

_HOST_LINE: Final = re.compile(rb"\nhost:([^\r\n]*)\r\n", re.IGNORECASE)


def refused_head(start: bytes) -> RequestHead:
    """The head of a request that was refused, with what ``start`` shows of it, for the access log.

    The method is empty if it is incomplete or no token, and so are the others then; the target may
    be cut off.  Never raises.
    """
    line, _, fields = start.lstrip(b"\r\n").partition(b"\r\n")
    method, space, rest = line.partition(b" ")
    target = rest.partition(b" ")[0]
    if not space or len(method) > METHOD_MAX or not is_token(method):
        method = target = b""
    host = b""
    found = _HOST_LINE.search(b"\n" + fields) if method else None
    if found is not None:
        try:
            host = normal_host(found[1].strip(b" \t"))
        except ValueError:
            host = b""
    return RequestHead(method, target, [], 11, host, length=None, keep_alive=False)


def bad_version(text: bytes) -> BadMessage:
    """505 for a version above HTTP/1, 400 for anything else, HTTP/0.9 included
    (RFC 9110 §15.6.6)."""
    if len(text) == 8 and text.startswith(b"HTTP/") and text[6:7] == b".":
        major, minor = text[5:6], text[7:8]
        if minor.isdigit() and major.isdigit() and major > b"1":
            return BadMessage(Kind.UNSUPPORTED, "HTTP version is not supported", 505)
    return BadMessage(Kind.BAD_REQUEST, "malformed HTTP version")
