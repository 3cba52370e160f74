"""PURE. The built-in filters ``set-header``, ``add-header`` and ``remove-header``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from lbproxy.http.context import TemplateContext
from lbproxy.http.filter import Filter
from lbproxy.http.head import Head
from lbproxy.http.headeroptions import OURS, HeaderOptions, RemoveOptions
from lbproxy.http.known import field_name
from lbproxy.http.template import Template, trimmed
from lbproxy.interfaces import Env, HTTPFilterTraffic

__all__ = ["AddHeader", "HeaderOptions", "RemoveHeader", "RemoveOptions", "SetHeader"]


class _HeaderFilter(Filter):
    """Base of the filters, which change one of the two messages."""

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._name: bytes = options.header.encode("ascii")
        self._field = field_name(self._name)
        self.always = options.always

    def phases(self) -> Iterable[str]:
        """Return the phase of the message that it changes."""
        return (self.options.message,)

    def request(self, traffic: HTTPFilterTraffic) -> None:
        """Change the request."""
        self.apply(traffic.request, traffic)

    def response(self, traffic: HTTPFilterTraffic) -> None:
        """Change the response."""
        head = traffic.response
        if head is not None:
            self.apply(head, traffic)

    def apply(self, head: Head, traffic: TemplateContext) -> None:
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
        self._value: Template = options.template()

    def apply(self, head: Head, traffic: TemplateContext) -> None:
        """See the class."""
        value = trimmed(self._value.render(traffic))
        head.remove(self._field)
        if value:
            head.add_header(self._name, value)


class AddHeader(_HeaderFilter):
    """``add-header request|response [always] NAME VALUE``: adds a line of the header; an empty
    value adds none.
    """

    name: ClassVar[str] = "add-header"
    Options: ClassVar[type[Any]] = HeaderOptions

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._value: Template = options.template()

    def apply(self, head: Head, traffic: TemplateContext) -> None:
        """See the class."""
        value = trimmed(self._value.render(traffic))
        if value:
            head.add_header(self._name, value)


class RemoveHeader(_HeaderFilter):
    """``remove-header request|response [always] NAME``: removes every line of the header;
    ``X-Internal-*`` removes every header with this prefix.
    """

    name: ClassVar[str] = "remove-header"
    Options: ClassVar[type[Any]] = RemoveOptions

    def apply(self, head: Head, traffic: TemplateContext) -> None:
        """See the class."""
        if not self._name.endswith(b"*"):
            head.remove(self._field)
            return
        start = self._name[:-1].lower()
        keep = b"host" if self.options.message == "request" else None
        names = {name.lower() for name, _ in head.pairs()}
        head.remove_headers(
            frozenset(
                low
                for low in names
                if low.startswith(start) and low != keep and low.decode("latin-1") not in OURS
            )
        )
