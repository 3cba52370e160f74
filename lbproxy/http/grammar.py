"""PURE. The methods, versions and leniencies that the HTTP/1 parsers accept beyond RFC 9112."""

from __future__ import annotations

from typing import Final

__all__ = ["USUAL", "Grammar"]


class Grammar:
    """Parameters of the parsers.

    ``methods``: request methods that are tokens, so that nobody has to look. Any other token is a
    method too (RFC 9110 §9.1), except those in ``refused``, which get 501. ``versions``: eight
    bytes of a start line to 10 or
    11.  ``blanks``: whether white space before a colon (RFC 9112 §5.1) and behind a chunk size in a
         response is removed rather than refused.
    """

    __slots__ = ("blanks", "methods", "refused", "versions")

    def __init__(
        self,
        methods: frozenset[bytes],
        versions: dict[bytes, int],
        blanks: bool = False,
        refused: frozenset[bytes] = frozenset(),
    ) -> None:
        self.methods = methods
        self.versions = versions
        self.blanks = blanks
        self.refused = refused


USUAL: Final = Grammar(
    frozenset(
        b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY "
        b"MKCALENDAR MKCOL MOVE "
        b"NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE "
        b"SUBSCRIBE TRACE "
        b"UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
    ),
    {b"HTTP/1.0": 10, **{b"HTTP/1.%d" % minor: 11 for minor in range(1, 10)}},
    blanks=True,
    refused=frozenset((b"PRI",)),
)
"""Any method except that of the HTTP/2 preface (RFC 9113 §11.6); a higher minor version is
processed as HTTP/1.1 (RFC 9110 §2.5).
"""
