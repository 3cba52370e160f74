"""PURE. The HTTP/1 parsers: bytes in, events out; used by the client and server connections.

A head is collected until its CRLFCRLF and then judged as a whole by one strict grammar, so there is
one reading of it, however it arrived.  The verdict never depends on how the input was cut into
pieces: limits and malformed lines are decided by the earliest byte that shows them.

Who reads what:

- A head is parsed by llhttp (``httptools``), never with a leniency switched on: method, target,
  status, reason and fields are what it calls back.  It gets complete heads only, one at a time.
- Our own checks stand before and behind it, for what it lets pass: line ends, control characters,
  counts and sizes of the whole head first, so that its lines and llhttp's cannot differ; then that
  every line gave one field, that the start line is exactly method, target and version with single
  spaces, the version, targets, Host, names, Content-Length and Transfer-Encoding.
- Bodies are delimited here: llhttp does not say where a chunked message ends in its input, hands
  the body of a request with Upgrade over as tunnel bytes, and cannot be told that a response
  answers HEAD.  In the tests it is an oracle for chunked bodies.

An llhttp parser is used again for the connection's next head when it is waiting for one: after an
HTTP/1.1 head without a body, an upgrade, CONNECT or a Connection line that could close.  After any
other a new one is made (0.3 us).  A GET with ten fields costs 6.8 us, a response with six fields
and 120 bytes 5.0 us; taking heads apart in Python, without llhttp, cost 0.8 us less.

What llhttp refuses is refused: a method that it does not know, lower-case ones included, with 501
(RFC 9110 §15.6.2), HTTP/1.2 and above with 505, a tab behind a transfer coding and anything else
with 400.

What is refused although RFC 9112 would let a recipient repair it: bare LF as a line end, white
space before a colon, folded lines, several Content-Length values even if equal, Transfer-Encoding
beside Content-Length, any coding but a single ``chunked``, user information in a target.
"""

from __future__ import annotations

from lbproxy.http.h1_request import KnownHeads, RequestParser
from lbproxy.http.h1_response import ResponseParser

__all__ = ["KnownHeads", "RequestParser", "ResponseParser"]
