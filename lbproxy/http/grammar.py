"""PURE. What the HTTP/1 parsers take beyond what RFC 9112 settles for everybody: methods, versions, leniencies."""

from __future__ import annotations

from typing import Final

__all__ = ["USUAL", "Grammar"]


class Grammar:
    """Parameters of the parsers.

    ``methods``: the request methods that are taken; others get 501 (RFC 9110 §15.6.2).  ``versions``: eight bytes of
    a start line to 10 or 11.  ``blanks``: whether white space before a colon in a response is removed, as RFC 9112
    §5.1 asks of a proxy, rather than refused.
    """

    __slots__ = ("blanks", "methods", "versions")

    def __init__(
        self, methods: frozenset[bytes], versions: dict[bytes, int], blanks: bool = False
    ) -> None:
        self.methods = methods
        self.versions = versions
        self.blanks = blanks


USUAL: Final = Grammar(
    frozenset(
        b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE "
        b"NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE "
        b"UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
    ),
    {b"HTTP/1.1": 11, b"HTTP/1.0": 10},
)
"""The methods of the IANA registry that servers meet, and some of older protocols over HTTP."""
