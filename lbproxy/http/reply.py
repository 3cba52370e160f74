"""PURE. ``reply``: a filter and a route action that responds with a fixed response."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.http.filter import Filter
from lbproxy.http.message import Reply
from lbproxy.http.place import Place, in_json, in_markup, in_script, plain
from lbproxy.http.template import Template, TemplateContext, clean
from lbproxy.interfaces import Env, HTTPFilterTraffic
from lbproxy.model import option

__all__ = ["ReplyFilter", "ReplyOptions"]

_PLACES: tuple[tuple[str, Place], ...] = (
    (r"[/+-]json", in_json),
    (r"html|xml", in_markup),
    (r"(java|ecma)script", in_script),
)


def _place(media: str) -> Place:
    """Return how variables are escaped in a body of this media type."""
    for pattern, place in _PLACES:
        if re.search(pattern, media, re.IGNORECASE):
            return place
    return plain


@frozen
class ReplyOptions:
    """Options of ``reply``."""

    status: int = option("int", min=200, max=599, doc="HTTP status", positional=True)
    body: str = option(
        "string",
        "",
        doc="body of the response; may contain {variables}",
        positional=True,
        example="ok",
    )
    type: str = option("string", "text/plain", doc="Content-Type of the response")

    def __attrs_post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"reply status {self.status}: 200 to 599 are allowed")
        if self.body and self.status in (204, 205, 304):
            raise ValueError(f"reply {self.status} has no body")
        if not re.match(r"[!-~]+/[ -~]+\Z", self.type):
            raise ValueError(f"reply type {self.type!r} is not a media type, such as text/plain")
        self.template()

    def template(self) -> Template:
        """The compiled body. Variables are escaped by the type and their position."""
        return Template(self.body, place=_place(self.type), early=True, lines=True)


class ReplyFilter(Filter):
    """``reply STATUS [BODY] [type=text/plain]``: sends a fixed response; a filter or a route
    action.
    """

    name: ClassVar[str] = "reply"
    Options: ClassVar[type[Any]] = ReplyOptions

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._status = int(options.status)
        self._body = options.template()
        kind = options.type
        if kind.startswith("text/") and "charset" not in kind.lower():
            kind += "; charset=utf-8"
        self._type = (b"Content-Type", clean(kind.encode("ascii")))

    def reply(self, traffic: TemplateContext) -> Reply:
        """Return the response for ``traffic``, a new object each time."""
        body = self._body.render(traffic)
        return Reply(self._status, body, [self._type] if body else [])

    def request(self, traffic: HTTPFilterTraffic) -> Reply:
        """As a filter: answer every request."""
        return self.reply(traffic)
