"""PURE. ``redirect``: a filter and a route action that responds with a Location."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.escape import url_literal
from lbproxy.http.filter import Filter
from lbproxy.http.message import Reply
from lbproxy.http.place import GAP, fence, in_redirect, is_inside, split_reference
from lbproxy.http.syntax import is_host
from lbproxy.http.template import Template, TemplateContext
from lbproxy.interfaces import Env, HTTPFilterTraffic
from lbproxy.model import option

__all__ = ["Redirect", "RedirectOptions"]

_NOWHERE = re.compile(rb"(?i)https?://([/?#:]|\Z)")
_ABSOLUTE = re.compile(r"(?i)([a-z][a-z0-9+.-]*:)?//|\{[^{}]*\}://")
_REST = re.compile(rb"[?#]")
_AUTHORITY = re.compile(rb"(?i)[a-z][a-z0-9+.-]*://([^/?#]*)|//([^/?#]*)")


def target_template(target: str) -> Template:
    """Return the compiled target of a redirect."""
    return Template(target, place=in_redirect, literal=url_literal, early=True)


@frozen
class RedirectOptions:
    """Options of ``redirect``."""

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
            raise ValueError(
                f"redirect status {self.status}: must be one of 301, 302, 303, 307, 308"
            )
        if not self.target:
            raise ValueError("redirect has no target")
        fence(split_reference(target_template(self.target).outline)[1])


class Redirect(Filter):
    """``redirect STATUS TARGET``: answers with a Location; a filter or a route action.

    A target without scheme and host stays on this host, whatever the request contains. Variables
    are escaped by their position, and cannot leave the folder that is written before them.
    """

    name: ClassVar[str] = "redirect"
    Options: ClassVar[type[Any]] = RedirectOptions

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._status = int(options.status)
        self._target = target_template(options.target)
        self._local = not _ABSOLUTE.match(options.target)
        host, path = split_reference(self._target.outline)
        self._host_varies = GAP in host
        self._folder = fence(path) if GAP in path else b""

    def reply(self, traffic: TemplateContext) -> Reply:
        """Return the response for ``traffic``, a new object each time.

        Raises ProxyError BAD_REQUEST if the target needs the host of a request without one
        (HTTP/1.0), or if a variable would leave its place.
        """
        target = self._target.render(traffic)
        if _NOWHERE.match(target):
            raise ProxyError(Kind.BAD_REQUEST, "redirect to the host of a request without one")
        if self._local and target.startswith(b"//"):
            # "//name/" would be another host; backslashes are escaped already
            target = b"/" + target.lstrip(b"/")
        if self._host_varies or len(self._folder) > 1:
            self._check(target)
        return Reply(self._status, headers=[(b"Location", target)])

    def _check(self, target: bytes) -> None:
        """Raise ProxyError if the host is invalid, or the path leaves its folder."""
        match = _AUTHORITY.match(target)
        if match is not None and self._host_varies:
            host = (match[1] or match[2] or b"").rpartition(b"@")[2]
            if not is_host(host):
                raise ProxyError(Kind.BAD_REQUEST, f"redirect to the host {host!r}")
        path = _REST.split(target[match.end() if match else 0 :], maxsplit=1)[0]
        if len(self._folder) > 1 and not is_inside(path, self._folder):
            raise ProxyError(Kind.BAD_REQUEST, f"redirect leaves {self._folder.decode()}")

    def request(self, traffic: HTTPFilterTraffic) -> Reply:
        """As a filter: redirect every request."""
        return self.reply(traffic)
