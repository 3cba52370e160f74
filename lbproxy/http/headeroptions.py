"""PURE. The options of ``set-header``, ``add-header`` and ``remove-header``.

They are checked at creation, so that errors have file and line.
"""

from __future__ import annotations

import re

from attrs import frozen

from lbproxy.http.template import Template
from lbproxy.model import option

__all__ = ["OURS", "HeaderOptions", "RemoveOptions"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")

OURS = frozenset(
    (
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Framing and connection fields, which only lbproxy writes."""


def _check_name(name: str, message: str) -> None:
    if not _TOKEN.match(name):
        raise ValueError(f"{name!r} is not a header name")
    if name.lower() in OURS:
        raise ValueError(f"header {name} is written by lbproxy itself")
    if name.lower() == "host" and message == "request":
        raise ValueError("header Host: use 'rewrite * * host=NAME', or host_header in the backend")


def _check_always(always: bool, message: str) -> None:
    if always and message == "request":
        raise ValueError("'always' is for responses only")


@frozen
class HeaderOptions:
    """Options of ``set-header`` and ``add-header``."""

    message: str = option(
        "choice", choices=("request", "response"), doc="message to change", positional=True
    )
    header: str = option("string", doc="name of the header", positional=True, example="X-Client")
    value: str = option(
        "string",
        doc="value of the header; may contain {variables}",
        positional=True,
        example="{client_ip}",
    )
    always: bool = option(
        "flag", False, doc="also in replies of filters and routes, and in error pages"
    )

    def __attrs_post_init__(self) -> None:
        _check_name(self.header, self.message)
        _check_always(self.always, self.message)
        self.template()

    def template(self) -> Template:
        """The compiled value."""
        return Template(self.value, early=self.message == "request")


@frozen
class RemoveOptions:
    """Options of ``remove-header``."""

    message: str = option(
        "choice", choices=("request", "response"), doc="message to change", positional=True
    )
    header: str = option(
        "string",
        doc="name of the header; a ``*`` at its end matches any rest",
        positional=True,
        example="X-Powered-By",
    )
    always: bool = option(
        "flag", False, doc="also in replies of filters and routes, and in error pages"
    )

    def __attrs_post_init__(self) -> None:
        _check_always(self.always, self.message)
        _check_name(self.header.removesuffix("*") or "*", self.message)
