"""PURE. The HTTP/1 parsers: bytes in, events out; used by the client and server connections.

A head is collected until its CRLFCRLF and then judged as a whole by one strict grammar, so there is
one reading of it, however it arrived.  The verdict never depends on how the input was cut into
pieces: limits and malformed lines are decided by the earliest byte that shows them.

The head is taken apart here and not by llhttp (httptools): with the checks that llhttp leaves to
its user it costs the same, llhttp knows a fixed list of methods only, does not say where a chunked
message ends in its input, and has to be thrown away after many messages.  It serves as an oracle in
the tests instead.

What is refused although RFC 9112 would let a recipient repair it: bare LF as a line end, white
space before a colon, folded lines, several Content-Length values even if equal, Transfer-Encoding
beside Content-Length, any coding but a single ``chunked``, user information in a target.
"""

from __future__ import annotations

from lbproxy.http.h1_request import RequestParser
from lbproxy.http.h1_response import ResponseParser

__all__ = ["RequestParser", "ResponseParser"]
