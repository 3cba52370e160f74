"""PURE. Sticky sessions by cookie: our own (``cookie``), the application's with a prefix
(``prefix``), or learned (``learn``).

A server is named in a cookie by an *id* that tells nothing: 128 bits of HMAC-SHA256 over backend
and server name, under the secret of ``[lbproxy]``. It cannot be made up, and the id of one backend
means nothing in another one.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from typing import Any

from attrs import frozen

from lbproxy.balance.base import Need
from lbproxy.balance.server import ServerState
from lbproxy.balance.sticky import Sticky, TableOptions, TableSticky, digest
from lbproxy.interfaces import Env, HTTPFilterTraffic, PickContext
from lbproxy.model import option

__all__ = ["CookieSticky", "LearnSticky", "PrefixSticky", "server_id"]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 6265 §4.1.1
_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")  # RFC 6265 §4.1.1: path-value and domain
_ID_BYTES = 16
_ID = re.compile(rb"[A-Za-z0-9_-]{22}")
_MARK = b"~"  # between the id and the application's value


def server_id(secret: bytes, backend: str, server: str) -> bytes:
    """The id of a server: 22 characters of base64url."""
    message = f"sticky\0{backend}\0{server}".encode()
    mac = hmac.digest(secret, message, "sha256")[:_ID_BYTES]
    return urlsafe_b64encode(mac).rstrip(b"=")


class _Ids:
    """The ids of a backend's servers, both ways."""

    def __init__(self, secret: bytes, backend: str) -> None:
        self._secret = secret
        self._backend = backend
        self._of: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}

    def add(self, name: str) -> None:
        value = self._of[name] = server_id(self._secret, self._backend, name)
        self._names[value] = name

    def drop(self, name: str) -> None:
        value = self._of.pop(name, None)
        if value is not None:
            self._names.pop(value, None)

    def of(self, name: str) -> bytes:
        """Of any server: one that was removed may still answer, and is not remembered for that."""
        return self._of.get(name) or server_id(self._secret, self._backend, name)

    def name(self, value: bytes) -> str | None:
        """The server, or None for anything that is not an id of this backend."""
        return self._names.get(value)


class _WithIds(Sticky):
    """What the kinds that write ids into cookies share."""

    needs = frozenset({Need.REQUEST})

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._ids = _Ids(env.secret, env.name)
        self._cookie = options.name.encode("ascii")

    def server_added(self, name: str) -> None:
        """See :class:`Sticky`."""
        self._ids.add(name)

    def server_removed(self, name: str) -> None:
        """See :class:`Sticky`."""
        self._ids.drop(name)

    def _is_lent(self, traffic: HTTPFilterTraffic, server: ServerState) -> bool:
        """The client's own server is only full: the bond stays."""
        name = self.belongs(traffic)
        own = self.group.servers.get(name) if name is not None else None
        return own is not None and own is not server and own.honours and own not in traffic.tried


def _checked_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a cookie")


@frozen
class CookieOptions:
    """``sticky = cookie NAME``."""

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
            raise ValueError(f"path {self.path!r} does not begin with '/', or holds a ';'")
        if not re.fullmatch(r"[A-Za-z0-9.-]*", self.domain):
            raise ValueError(f"domain {self.domain!r} is not a domain")
        if self.samesite == "none" and self.secure == "no":
            raise ValueError("samesite=none needs secure: browsers drop the cookie without it")


class CookieSticky(_WithIds):
    """A cookie set by lbproxy identifies the server.

    It contains an opaque id and is not forwarded to servers. It is set if a client has none or an
    invalid one, or was moved to another server.
    """

    name = "cookie"
    Options = CookieOptions

    def __init__(self, options: CookieOptions, env: Env) -> None:
        super().__init__(options, env)
        words = [f"; Path={options.path}"]
        if options.domain:
            words.append(f"; Domain={options.domain}")
        if options.max_age:
            words.append(f"; Max-Age={int(options.max_age)}")
        if options.httponly:
            words.append("; HttpOnly")
        if options.samesite != "unset":
            words.append(f"; SameSite={options.samesite.capitalize()}")
        self._plain = "".join(words).encode("ascii")
        self._secure = self._plain + b"; Secure"

    def belongs(self, context: PickContext) -> str | None:
        """See :class:`Sticky`."""
        request = context.request
        value = request.cookie(self._cookie) if request is not None else None
        if request is None or value is None:
            return None
        return self._ids.name(value) or self._name_among(request)

    def _name_among(self, request: Any) -> str | None:
        """The server of the first cookie that means something: one of another path, domain or time
        may precede it.
        """
        for value in request.cookies(self._cookie):
            name = self._ids.name(value)
            if name is not None:
                return name
        return None

    def server_request(self, traffic: HTTPFilterTraffic) -> None:
        """Filter phase: our cookie is none of the server's business."""
        head = traffic.server_request
        if head is not None:
            rewrite_cookie(head, self._cookie, _removed)

    def response(self, traffic: HTTPFilterTraffic) -> None:
        """Filter phase: set the cookie unless it is right."""
        server = traffic.server
        head = traffic.response
        if server is None or head is None:
            return
        set_by_server = head.header_values(b"set-cookie")
        if any(_sets(value, self._cookie) for value in set_by_server):
            head.remove_header(b"set-cookie")
            for value in set_by_server:
                if not _sets(value, self._cookie):
                    head.add_header(b"Set-Cookie", value)
        if self.belongs(traffic) == server.name or self._is_lent(traffic, server):
            return
        secure = self.options.secure
        if secure == "yes" or (secure == "auto" and traffic.scheme == "https"):
            words = self._secure
        else:
            words = self._plain
        value = self._cookie + b"=" + self._ids.of(server.name) + words
        head.add_header(b"Set-Cookie", value)
        if self.options.private and head.header(b"cache-control") is None:
            head.add_header(b"Cache-Control", b"private")
        self.counters.cookies += 1


@frozen
class PrefixOptions:
    """``sticky = prefix NAME``."""

    name: str = option(
        "string", doc="name of the application's cookie", positional=True, example="JSESSIONID"
    )

    def __attrs_post_init__(self) -> None:
        _checked_name(self.name)


class PrefixSticky(_WithIds):
    """The application's own session cookie identifies the server: lbproxy puts the server's id and
    ``~`` before the value on the way to the client, and removes them on the way back. Clients
    without a session are balanced as usual. No table is needed.
    """

    name = "prefix"
    Options = PrefixOptions

    def belongs(self, context: PickContext) -> str | None:
        """See :class:`Sticky`."""
        request = context.request
        value = request.cookie(self._cookie) if request is not None else None
        if value is None:
            return None
        mark, found, _ = value.partition(_MARK)
        return self._ids.name(mark) if found else None

    def server_request(self, traffic: HTTPFilterTraffic) -> None:
        """Filter phase: the server gets what it has set.

        An id of another time is taken off too.
        """
        head = traffic.server_request
        if head is not None:
            rewrite_cookie(head, self._cookie, _unprefixed)

    def response(self, traffic: HTTPFilterTraffic) -> None:
        """Filter phase: mark what the server sets."""
        server = traffic.server
        head = traffic.response
        if server is None or head is None:
            return
        mark = self._ids.of(server.name) + _MARK
        set_by_server = head.header_values(b"set-cookie")
        if not any(_sets(value, self._cookie) for value in set_by_server):
            return
        head.remove_header(b"set-cookie")
        for value in set_by_server:
            marked = value
            if _sets(value, self._cookie):
                name, _, rest = value.partition(b"=")
                marked = name + b"=" + mark + rest.lstrip(b" \t")
                self.counters.cookies += 1
            head.add_header(b"Set-Cookie", marked)


@frozen(kw_only=True)
class LearnOptions(TableOptions):
    """``sticky = learn NAME``."""

    name: str = option(
        "string", doc="name of the application's cookie", positional=True, example="JSESSIONID"
    )

    def __attrs_post_init__(self) -> None:
        _checked_name(self.name)


class LearnSticky(TableSticky):
    """The application's own session cookie identifies the server: a table stores which server has
    set which value, as a digest. The traffic is unchanged. Only values that a server has set are
    learned, so clients cannot fill the table.

    A restart loses the table, and clients are then balanced again; ``prefix`` needs no table.
    """

    name = "learn"
    Options = LearnOptions
    needs = frozenset({Need.REQUEST})

    def __init__(self, options: LearnOptions, env: Env) -> None:
        super().__init__(options, env)
        self._cookie = options.name.encode("ascii")

    def key(self, context: PickContext) -> bytes | None:
        """A digest of the value the client sends."""
        request = context.request
        value = request.cookie(self._cookie) if request is not None else None
        return digest(value) if value else None

    def settled(self, context: PickContext, server: ServerState, moved: bool) -> None:
        """See :class:`Sticky`: a session that is known moves along; an unknown one is not believed."""
        if moved:
            super().settled(context, server, moved)

    def response(self, traffic: HTTPFilterTraffic) -> None:
        """Filter phase: learn what the server sets.

        What it deletes is not sent again, and expires.
        """
        server = traffic.server
        head = traffic.response
        if server is None or head is None:
            return
        for line in head.header_values(b"set-cookie"):
            if _sets(line, self._cookie):
                value, _, words = line.partition(b"=")[2].partition(b";")
                value = value.strip().strip(b'"')
                if value and not _deletes(words):
                    self.table.put(digest(value), server.name)

    def identity(self) -> tuple[Any, ...]:
        """See :class:`Sticky`."""
        return (*super().identity(), self.options.name)


# -- cookie lines --------------------------------------------------------------------------------


def rewrite_cookie(head: Any, cookie: bytes, change: Any) -> None:
    """Change every value of a cookie in ``head``; ``change`` gives None to take it out.

    Other cookies stay byte for byte as they were.  A Cookie line that held nothing else goes too.
    """
    found = cookie + b"="
    lines = head.header_values(b"cookie")
    if not any(found in line for line in lines):
        return
    head.remove_header(b"cookie")
    for line in lines:
        left = line
        if found in line:
            parts = [_changed(part, found, change) for part in line.split(b";")]
            left = b";".join(part for part in parts if part is not None).strip(b" \t;")
        if left:
            head.add_header(b"Cookie", left)


def _removed(value: bytes) -> None:
    """Take the cookie out."""


def _changed(part: bytes, found: bytes, change: Any) -> bytes | None:
    plain = part.lstrip(b" \t")
    if not plain.startswith(found):
        return part
    value: bytes | None = change(plain[len(found) :])
    return None if value is None else part[: len(part) - len(plain)] + found + value


def _unprefixed(value: bytes) -> bytes:
    quote = value[:1] if value[:1] == b'"' else b""
    mark, found, rest = value[len(quote) :].partition(_MARK)
    return quote + rest if found and _ID.fullmatch(mark) else value


def _sets(value: bytes, cookie: bytes) -> bool:
    """Whether the value of a Set-Cookie line sets this cookie."""
    return value.partition(b"=")[0].strip() == cookie


def _deletes(words: bytes) -> bool:
    """Whether the attributes of a Set-Cookie line end the cookie at once."""
    for word in words.split(b";"):
        key, _, value = word.strip().partition(b"=")
        if key.lower() == b"max-age":
            return value.strip().lstrip(b"-0") == b"" or value.strip().startswith(b"-")
    return False
