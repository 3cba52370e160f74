"""PURE. ``rewrite``: the built-in filter that changes the path and the host that servers see."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.condition import path_key
from lbproxy.http.filter import Filter
from lbproxy.http.paths import normal_path
from lbproxy.http.pattern import compile_regex
from lbproxy.http.syntax import normal_host
from lbproxy.http.template import Template, TemplateContext
from lbproxy.interfaces import Env, HTTPFilterTraffic
from lbproxy.model import option

__all__ = ["Rewrite", "RewriteOptions"]

_Piece = Template | int
_Rewriter = Callable[[bytes, bytes, TemplateContext], "bytes | None"]
"""Of a normalised path, the path as it came, and the traffic."""
_GROUP = re.compile(r"\$\$|[$\\](\d)")


def _group_pieces(replacement: str, groups: int) -> list[_Piece]:
    """A regex replacement as templates and group numbers."""
    pieces: list[_Piece] = []
    literal = ""
    last = 0
    for match in _GROUP.finditer(replacement):
        literal += replacement[last : match.start()]
        last = match.end()
        if match[1] is None:
            literal += "$"
            continue
        number = int(match[1])
        if number > groups:
            raise ValueError(f"replacement has ${number}, the pattern has {groups} groups")
        pieces += [Template(literal, escape="url", early=True), number]
        literal = ""
    pieces.append(Template(literal + replacement[last:], escape="url", early=True))
    return pieces


def _regex_rewriter(pattern: str, replacement: str) -> _Rewriter:
    regex = compile_regex(pattern)
    pieces = _group_pieces(replacement, regex.groups)

    def rewrite(path: bytes, raw: bytes, traffic: TemplateContext) -> bytes | None:
        found = regex.search(path)
        if found is None:
            return None
        new = [
            (found.group(piece) or b"") if isinstance(piece, int) else piece.render(traffic)
            for piece in pieces
        ]
        return path[: found.start()] + b"".join(new) + path[found.end() :]

    return rewrite


def _rest(path: bytes, raw: bytes, start: bytes) -> bytes:
    """What follows the prefix ``start`` of ``path``, spelled as in ``raw`` if that means the same.

    Raises ProxyError BAD_REQUEST if it would leave the place that it is moved to.
    """
    rest = path[len(start) :]
    normal = normal_path(b"/" + rest)
    if normal is None:
        raise ProxyError(Kind.BAD_REQUEST, "path leaves the prefix that is rewritten")
    if raw.startswith(start) and normal_path(b"/" + raw[len(start) :]) == normal:
        kept = raw[len(start) :]
        # "//name" at the beginning of a target could be read as a host
        return kept if rest.startswith(b"/") else kept.lstrip(b"/")
    return rest


def _plain_rewriter(pattern: str, replacement: str) -> _Rewriter:
    kind, start = path_key(pattern)
    if kind == "glob":
        raise ValueError(
            f"rewrite pattern {pattern!r}: a path, a path with '*' at its end, or ~regex"
        )
    before, star, after = replacement.partition("*")
    if star and kind == "exact":
        raise ValueError(f"replacement {replacement!r} has '*', the pattern has none")
    head = Template(before, escape="url", early=True)
    tail = Template(after, escape="url", early=True)

    def rewrite(path: bytes, raw: bytes, traffic: TemplateContext) -> bytes | None:
        if not (path.startswith(start) if kind == "prefix" else path == start):
            return None
        rest = _rest(path, raw, start) if star else b""
        return head.render(traffic) + rest + tail.render(traffic)

    return rewrite


@frozen
class RewriteOptions:
    """Words of ``rewrite``."""

    pattern: str = option(
        "string",
        doc="path, ``/prefix/*``, or ``~regex``, compared with the normalised path",
        positional=True,
        example="/api/*",
    )
    replacement: str = option(
        "string",
        doc=(
            "new path: ``*`` stands for the match of the pattern's star, ``$1`` for a group; may "
            "contain {variables}"
        ),
        positional=True,
        example="/*",
    )
    host: str = option(
        "string", "", doc="new Host header; may contain {variables}; empty: unchanged"
    )

    def __attrs_post_init__(self) -> None:
        self.rewriter()
        Template(self.host, early=True)

    def rewriter(self) -> _Rewriter:
        """The compiled pattern and replacement."""
        if self.pattern.startswith("~"):
            return _regex_rewriter(self.pattern[1:], self.replacement)
        if not self.replacement.startswith(("/", "*", "{")):
            raise ValueError(f"replacement {self.replacement!r} must begin with '/' or '*'")
        return _plain_rewriter(self.pattern, self.replacement)


class Rewrite(Filter):
    """``rewrite PATTERN REPLACEMENT [host=NAME]``: changes the path, and the host, that servers
    see.

    The query is kept; a query in the replacement is put before it. Paths that do not match stay
    unchanged. What the star stands for keeps its spelling; a regular expression works on the
    normalised path.
    """

    name: ClassVar[str] = "rewrite"
    Options: ClassVar[type[Any]] = RewriteOptions

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._rewrite: _Rewriter = options.rewriter()
        self._host = Template(options.host, early=True) if options.host else None

    def request(self, traffic: HTTPFilterTraffic) -> None:
        """Raises ProxyError BAD_REQUEST for an ambiguous path (see :func:`normal_path`) or a host that is none."""
        head = traffic.request
        if not head.target.startswith(b"/"):
            return
        raw, mark, query = head.target.partition(b"?")
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
        if not new.startswith(b"/"):
            new = b"/" + new
        if mark:
            new += (b"&" if b"?" in new else b"?") + query
        head.target = new

    @staticmethod
    def _set_host(head: Any, host: bytes) -> None:
        try:
            host = normal_host(host)
        except ValueError:
            raise ProxyError(Kind.BAD_REQUEST, f"rewrite gives the host {host!r}") from None
        head.host = host
        head.set_header(b"Host", host)
