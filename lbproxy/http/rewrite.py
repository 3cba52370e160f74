"""PURE. ``rewrite``: the built-in filter that changes the path and the host that servers see."""

from __future__ import annotations

from typing import Any, ClassVar

from mypy_extensions import i64

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.bytetext import find_char
from lbproxy.http.filter import Filter
from lbproxy.http.paths import normal_path
from lbproxy.http.rewriteoptions import RewriteOptions
from lbproxy.http.rewriter import Rewriter
from lbproxy.http.syntax import normal_host
from lbproxy.http.template import Template
from lbproxy.interfaces import Env, HTTPFilterTraffic

__all__ = ["Rewrite", "RewriteOptions"]


class Rewrite(Filter):
    """``rewrite PATTERN REPLACEMENT [host=NAME]``: changes the path, and the host, that servers
    see.

    The query is kept; a query in the replacement is put before it. Paths that do not match stay
    unchanged. The part matched by the star keeps its spelling; a regular expression is applied to
    the normalised path.
    """

    name: ClassVar[str] = "rewrite"
    Options: ClassVar[type[Any]] = RewriteOptions

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._rewrite: Rewriter = options.rewriter()
        self._host = Template(options.host, early=True) if options.host else None

    def request(self, traffic: HTTPFilterTraffic) -> None:
        """Change the request.

        Raises ProxyError BAD_REQUEST for an ambiguous path (see :func:`normal_path`), for a result
        outside the folder in the replacement, and for a malformed host.
        """
        head = traffic.request
        target = head.target
        size: i64 = len(target)
        if not size or target[0] != 47:  # a slash
            return
        mark: i64 = find_char(target, 0, size, 63)
        raw = target if mark == size else target[:mark]
        path = normal_path(raw)
        if path is None:
            raise ProxyError(Kind.BAD_REQUEST, "ambiguous path, or one that leaves the root")
        new = self._rewrite(path, raw, traffic)
        if new is None:
            return
        if self._host is not None:
            self._set_host(head, self._host.render(traffic).lower())
        if new == path:
            return
        if mark < size:
            new += (b"?" if new.find(b"?") < 0 else b"&") + target[mark + 1 :]
        head.target = new

    @staticmethod
    def _set_host(head: Any, host: bytes) -> None:
        try:
            host = normal_host(host)
        except ValueError:
            raise ProxyError(Kind.BAD_REQUEST, f"rewrite results in the host {host!r}") from None
        head.host = host
        head.set_header(b"Host", host)
