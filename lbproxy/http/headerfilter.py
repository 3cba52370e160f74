"""PURE. The built-in filters ``set-header``, ``add-header`` and ``remove-header``.

Their options are checked when they are made, so mistakes carry file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.http.filter import Filter
from lbproxy.http.template import Template, TemplateContext
from lbproxy.interfaces import Env, HTTPFilterTraffic
from lbproxy.model import option

__all__ = ["AddHeader", "HeaderOptions", "RemoveHeader", "RemoveOptions", "SetHeader"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")

_OURS = frozenset(
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
"""Fields that say how a message travels: lbproxy writes them, filters may not."""


def _check_name(name: str, message: str) -> None:
    if not _TOKEN.match(name):
        raise ValueError(f"{name!r} is not a header name")
    if name.lower() in _OURS:
        raise ValueError(f"header {name} is written by lbproxy itself")
    if name.lower() == "host" and message == "request":
        raise ValueError("header Host: use 'rewrite * * host=NAME', or host_header in the backend")


def _check_always(always: bool, message: str) -> None:
    if always and message == "request":
        raise ValueError("'always' is for responses only")


@frozen
class HeaderOptions:
    """Words of ``set-header`` and ``add-header``."""

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
    """Words of ``remove-header``."""

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


class _HeaderFilter(Filter):
    """Works on one of the two messages."""

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._name = options.header.encode("ascii")
        self.always = options.always

    def phases(self) -> Iterable[str]:
        """The phase of the message it changes."""
        return (self.options.message,)

    def request(self, traffic: HTTPFilterTraffic) -> None:
        """Change the request."""
        self.apply(traffic.request, traffic)

    def response(self, traffic: HTTPFilterTraffic) -> None:
        """Change the response."""
        self.apply(traffic.response, traffic)

    def apply(self, head: Any, traffic: TemplateContext) -> None:
        """Change ``head``."""
        raise NotImplementedError


class SetHeader(_HeaderFilter):
    """``set-header request|response [always] NAME VALUE``: replaces all lines of the header with
    one; an empty value removes the header.
    """

    name: ClassVar[str] = "set-header"
    Options: ClassVar[type[Any]] = HeaderOptions

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._value = options.template()

    def apply(self, head: Any, traffic: TemplateContext) -> None:
        """See the class."""
        value = self._value.render(traffic).strip()
        if value:
            head.set_header(self._name, value)
        else:
            head.remove_header(self._name)


class AddHeader(_HeaderFilter):
    """``add-header request|response [always] NAME VALUE``: adds a line of the header; an empty
    value adds none.
    """

    name: ClassVar[str] = "add-header"
    Options: ClassVar[type[Any]] = HeaderOptions

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._value = options.template()

    def apply(self, head: Any, traffic: TemplateContext) -> None:
        """See the class."""
        value = self._value.render(traffic).strip()
        if value:
            head.add_header(self._name, value)


class RemoveHeader(_HeaderFilter):
    """``remove-header request|response [always] NAME``: removes every line of the header;
    ``X-Internal-*`` removes every header with this prefix.
    """

    name: ClassVar[str] = "remove-header"
    Options: ClassVar[type[Any]] = RemoveOptions

    def apply(self, head: Any, traffic: TemplateContext) -> None:
        """See the class."""
        if not self._name.endswith(b"*"):
            head.remove_header(self._name)
            return
        start = self._name[:-1].lower()
        keep = b"host" if self.options.message == "request" else None
        names = {name.lower() for name, _ in head.pairs()}
        head.remove_headers(
            frozenset(
                low
                for low in names
                if low.startswith(start) and low != keep and low.decode("latin-1") not in _OURS
            )
        )
