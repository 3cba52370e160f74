"""PURE. ``redirect``: a filter and a route action that answers with another address."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.filter import Filter
from lbproxy.http.message import Reply
from lbproxy.http.template import Template, TemplateContext
from lbproxy.interfaces import Env, HTTPFilterTraffic
from lbproxy.model import option

__all__ = ["Redirect", "RedirectOptions"]

_NOWHERE = re.compile(rb"(?i)https?://([/?#:]|\Z)")
_ABSOLUTE = re.compile(r"(?i)([a-z][a-z0-9+.-]*:)?//|\{scheme\}://")


@frozen
class RedirectOptions:
    """Words of ``redirect``."""

    status: str = option(
        "choice",
        choices=("301", "302", "303", "307", "308"),
        doc="301 and 308 are permanent; 302, 303 and 307 temporary; 307 and 308 keep the method",
        positional=True,
    )
    target: str = option(
        "string",
        doc="target of the redirect; may contain {variables}",
        positional=True,
        example="https://{host}{uri}",
    )

    def __attrs_post_init__(self) -> None:
        if str(self.status) not in ("301", "302", "303", "307", "308"):
            raise ValueError(f"redirect status {self.status}: one of 301, 302, 303, 307, 308")
        if not self.target:
            raise ValueError("redirect has no target")
        Template(self.target, escape="url", early=True)


class Redirect(Filter):
    """``redirect STATUS TARGET``: answers with a Location; a filter or a route action.

    A target without scheme and host stays on this host, whatever the request's path is.
    """

    name: ClassVar[str] = "redirect"
    Options: ClassVar[type[Any]] = RedirectOptions

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._status = int(options.status)
        self._target = Template(options.target, escape="url", early=True)
        self._local = not _ABSOLUTE.match(options.target)

    def reply(self, traffic: TemplateContext) -> Reply:
        """The answer for ``traffic``, a new object each time.

        Raises ProxyError BAD_REQUEST if the target needs the host of a request without one (HTTP/1.0).
        """
        target = self._target.render(traffic)
        if _NOWHERE.match(target):
            raise ProxyError(Kind.BAD_REQUEST, "redirect to the host of a request without one")
        if self._local and target.startswith(b"//"):
            # "//name/" would be another host; backslashes have been escaped already
            target = b"/" + target.lstrip(b"/")
        return Reply(self._status, headers=[(b"Location", target)])

    def request(self, traffic: HTTPFilterTraffic) -> Reply:
        """As a filter: answers everything that comes by."""
        return self.reply(traffic)
