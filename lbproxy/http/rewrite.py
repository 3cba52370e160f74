"""PURE. The built-in filters that change messages or answer by themselves.

``set-header``, ``add-header``, ``remove-header``, ``rewrite``, ``redirect`` and ``reply``; the last two are route
actions as well.  Their options are checked when they are made, so mistakes carry file and line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.condition import path_key
from lbproxy.http.filter import Filter
from lbproxy.http.message import Reply
from lbproxy.http.paths import normal_path
from lbproxy.http.pattern import compile_regex
from lbproxy.http.syntax import normal_host
from lbproxy.http.template import Template, TemplateContext, clean
from lbproxy.interfaces import Env, HTTPFilterTraffic
from lbproxy.model import option

__all__ = ["AddHeader", "Redirect", "RemoveHeader", "ReplyFilter", "Rewrite", "SetHeader"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_NOWHERE = re.compile(rb"(?i)https?://([/?#:]|\Z)")
_ABSOLUTE = re.compile(r"(?i)([a-z][a-z0-9+.-]*:)?//|\{scheme\}://")

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
    """``add-header request|response [always] NAME VALUE``: adds a line of the header; an empty value
    adds none.
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


@frozen
class ReplyOptions:
    """Words of ``reply``."""

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
            raise ValueError(f"reply type {self.type!r} is no media type, like text/plain")
        self.template()

    def template(self) -> Template:
        """The compiled body; what a request puts into markup is escaped."""
        markup = re.search(r"(?i)html|xml", self.type) is not None
        return Template(self.body, escape="html" if markup else "", early=True, lines=True)


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
        """The answer for ``traffic``, a new object each time."""
        body = self._body.render(traffic)
        return Reply(self._status, body, [self._type] if body else [])

    def request(self, traffic: HTTPFilterTraffic) -> Reply:
        """As a filter: answers everything that comes by."""
        return self.reply(traffic)
