"""PURE. The options of ``balance = hash``."""

from __future__ import annotations

from attrs import frozen

from lbproxy.model import option

__all__ = ["HashOptions"]

_NAMED = ("header", "cookie", "query")


@frozen
class HashOptions:
    """Options of ``balance = hash``."""

    what: str = option(
        "choice",
        "source",
        choices=("source", "uri", "path", "header", "cookie", "query", "sni"),
        doc="what is hashed: client address, request target with or without its query, one header,"
        " cookie or query parameter, or the TLS server name",
        positional=True,
    )
    key: str = option(
        "string",
        "",
        doc="name of the header, cookie or query parameter",
        positional=True,
        example="X-User",
    )
    consistent: bool = option(
        "bool",
        True,
        doc="use consistent hashing: a change of servers moves as few keys as possible",
    )
    bound: float = option(
        "float",
        0.0,
        min=0.0,
        max=100.0,
        doc="maximum load of a server, as a multiple of its share, at least 1.1; 0: no bound",
        example="1.25",
    )

    def __attrs_post_init__(self) -> None:
        if self.what in _NAMED and not self.key:
            raise ValueError(f"hash {self.what} needs the name of the {self.what}")
        if self.what not in _NAMED and self.key:
            raise ValueError(f"hash {self.what} takes no name, found {self.key!r}")
        if 0 < self.bound < 1.1:
            raise ValueError(f"bound must be 0 or at least 1.1, found {self.bound:g}")
