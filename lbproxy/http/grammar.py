"""PURE. The methods, versions and deviations from RFC 9112 that the HTTP/1 parsers accept."""

from __future__ import annotations

from typing import Final

__all__ = ["USUAL", "Grammar"]


class Grammar:
    """Parameters of the parsers.

    ``methods``: frequent request methods, which need no further check. Any other token is a method
    too (RFC 9110 §9.1), except those in ``refused``, which get 501. ``versions``: the eight bytes
    of a version in a start line -> 10 or 11. ``blanks``: whether white space before a colon (RFC
    9112 §5.1) and after a chunk size in a response is removed rather than refused.
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
"""Any method except that of the HTTP/2 preface (RFC 9113 §11.6). A higher minor version is
processed as HTTP/1.1 (RFC 9110 §2.5).
"""
