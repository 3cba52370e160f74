"""PURE. Options and counters of sticky sessions. These are attrs classes, which are not
compiled.
"""

from __future__ import annotations

import re

from attrs import define, frozen

from lbproxy.model import option

__all__ = [
    "CookieOptions",
    "LearnOptions",
    "PrefixOptions",
    "SourceOptions",
    "StickyCounters",
    "StickyHeaderOptions",
    "TableOptions",
]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 6265 §4.1.1
_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")  # RFC 6265 §4.1.1: path-value and domain


@define(eq=False)
class StickyCounters:
    """Totals since start.

    ``kept``: picks of the server that the client belongs to. ``moved``: picks of another server,
    which the client belongs to from then on. ``lent``: picks of another server once, because the
    client's own was full. ``cookies``: Set-Cookie lines written.
    """

    kept: int = 0
    moved: int = 0
    lent: int = 0
    cookies: int = 0


@frozen(kw_only=True)
class TableOptions:
    """Options of all classes with a table."""

    size: int = option(
        "int",
        100_000,
        min=1,
        max=10_000_000,
        doc="maximum number of clients; the least recently seen one is forgotten first",
    )
    expire: float = option(
        "duration",
        1800.0,
        min=1.0,
        max=31_536_000,
        doc="time after which a client that was not seen is forgotten",
    )


@frozen(kw_only=True)
class SourceOptions(TableOptions):
    """Options of ``sticky = source prefix=24``."""

    prefix: int = option(
        "int",
        32,
        min=1,
        max=32,
        doc="number of significant leading bits of an IPv4 address",
        example="24",
    )
    prefix6: int = option(
        "int", 64, min=1, max=128, doc="number of significant leading bits of an IPv6 address"
    )


@frozen(kw_only=True)
class StickyHeaderOptions(TableOptions):
    """Options of ``sticky = header X-User``."""

    header: str = option(
        "string", doc="name of the request header", positional=True, example="X-User"
    )

    def __attrs_post_init__(self) -> None:
        if not self.header.isascii() or not self.header or " " in self.header:
            raise ValueError(f"{self.header!r} is not the name of a header")


def _checked_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a cookie")


@frozen
class CookieOptions:
    """Options of ``sticky = cookie NAME``."""

    name: str = option("string", doc="name of the cookie", positional=True, example="LB")
    path: str = option("string", "/", doc="Path attribute")
    domain: str = option("string", "", doc="Domain attribute; empty: this host only")
    secure: str = option(
        "choice",
        "auto",
        choices=("auto", "yes", "no"),
        doc="Secure attribute; ``auto``: if the client uses TLS",
    )
    httponly: bool = option(
        "bool", True, doc="HttpOnly attribute, which hides the cookie from scripts"
    )
    samesite: str = option(
        "choice",
        "lax",
        choices=("lax", "strict", "none", "unset"),
        doc="SameSite attribute; ``unset``: none, the browser decides",
    )
    max_age: float = option(
        "duration",
        0.0,
        min=0.0,
        max=34_560_000,
        doc="lifetime of the cookie; 0: until the browser is closed",
    )
    private: bool = option(
        "bool",
        True,
        doc=(
            "add Cache-Control: private to responses that set the cookie and have no Cache-Control"
        ),
    )

    def __attrs_post_init__(self) -> None:
        _checked_name(self.name)
        if not self.path.startswith("/") or not _VALUE.fullmatch(self.path):
            raise ValueError(f"path {self.path!r} does not begin with '/', or contains a ';'")
        if not re.fullmatch(r"[A-Za-z0-9.-]*", self.domain):
            raise ValueError(f"domain {self.domain!r} is not a domain")
        if self.samesite == "none" and self.secure == "no":
            raise ValueError("samesite=none needs secure: browsers drop the cookie without it")


@frozen
class PrefixOptions:
    """Options of ``sticky = prefix NAME``."""

    name: str = option(
        "string", doc="name of the application's cookie", positional=True, example="JSESSIONID"
    )

    def __attrs_post_init__(self) -> None:
        _checked_name(self.name)


@frozen(kw_only=True)
class LearnOptions(TableOptions):
    """Options of ``sticky = learn NAME``."""

    name: str = option(
        "string", doc="name of the application's cookie", positional=True, example="JSESSIONID"
    )

    def __attrs_post_init__(self) -> None:
        _checked_name(self.name)
