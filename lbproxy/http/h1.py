"""PURE. The HTTP/1 parsers, which convert bytes to events. The client and server connections use
them.

A head is collected until its CRLFCRLF and then parsed as a whole by one strict grammar, so that it
has only one interpretation. The result never depends on how the input was split: the earliest byte
that violates a limit or the grammar decides.

Division of work:

- One scan over the raw bytes (:mod:`lbproxy.http.scan`) reads start line and field lines. It builds
  a table of offsets and refuses everything outside the grammar. The framing is derived from that
  table.
- :mod:`lbproxy.http.h1_body` delimits bodies.
- llhttp and h11 are oracles in the tests.

Methods, versions and deviations are parameters (:mod:`lbproxy.http.grammar`). An unknown method,
including one in lower case, is refused with 501 (RFC 9110 §15.6.2), HTTP/1.2 and above with 505,
everything else with 400.

The following is refused although RFC 9112 lets a recipient repair it: bare LF as a line end, white
space before a colon, folded lines, a tab after a transfer coding, several Content-Length values
even if equal, Transfer-Encoding together with Content-Length, any coding other than a single
``chunked``, and user information in a target.
"""

from __future__ import annotations

from lbproxy.http.h1_refused import refused_head
from lbproxy.http.h1_request import RequestParser
from lbproxy.http.h1_response import ResponseParser

__all__ = ["RequestParser", "ResponseParser", "refused_head"]
