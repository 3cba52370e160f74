"""PURE. The HTTP/1 parsers: bytes in, events out; used by the client and server connections.

A head is collected until its CRLFCRLF and then judged as a whole by one strict grammar, so there is
one reading of it, however it arrived. The verdict never depends on how the input was cut into
pieces: limits and malformed lines are decided by the earliest byte that shows them.

Division of work:

- Start line and field lines are read by one scan over the raw bytes (:mod:`lbproxy.http.scan`),
  which makes a table of offsets and refuses what the grammar does not have. What the lines mean for
  framing is decided from that table.
- Bodies are delimited by :mod:`lbproxy.http.h1_body`.
- llhttp and h11 are oracles in the tests.

Methods, versions and leniencies are parameters (:mod:`lbproxy.http.grammar`). A method that is not
known, in lower case included, is refused with 501 (RFC 9110 §15.6.2), HTTP/1.2 and above with 505,
anything else with 400.

What is refused although RFC 9112 would let a recipient repair it: bare LF as a line end, white
space before a colon, folded lines, a tab behind a transfer coding, several Content-Length values
even if equal, Transfer-Encoding beside Content-Length, any coding but a single ``chunked``, user
information in a target.
"""

from __future__ import annotations

from lbproxy.http.h1_refused import refused_head
from lbproxy.http.h1_request import RequestParser
from lbproxy.http.h1_response import ResponseParser

__all__ = ["RequestParser", "ResponseParser", "refused_head"]
