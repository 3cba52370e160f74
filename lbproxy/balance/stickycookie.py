"""PURE. Sticky sessions by cookie: set by lbproxy (``cookie``), the application's with a prefix
(``prefix``), or learned (``learn``).

A cookie identifies a server by an opaque *id*: 128 bits of HMAC-SHA256 over backend and server
name, with the secret of ``[lbproxy]`` as the key. Clients cannot forge it, and the id of one
backend has no meaning in another one.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from typing import Any, Final

from lbproxy.balance.base import Need
from lbproxy.balance.cookielines import (
    SET_COOKIE,
    remove_cookie,
    remove_set_cookie,
    rewrite_cookie,
    set_cookies_of,
    sets_cookie,
)
from lbproxy.balance.server import ServerState
from lbproxy.balance.sticky import Sticky, TableSticky, digest
from lbproxy.balance.stickyoptions import CookieOptions, LearnOptions, PrefixOptions
from lbproxy.compiled import native
from lbproxy.http.message import field_name
from lbproxy.interfaces import Env, HTTPFilterTraffic, PickContext

__all__ = ["CookieSticky", "LearnSticky", "PrefixSticky", "server_id"]

_ID_BYTES: Final = 16
_ID: Final = re.compile(rb"[A-Za-z0-9_-]{22}")
_MARK: Final = b"~"  # between the id and the application's value
_CACHE_CONTROL: Final = field_name(b"cache-control")


def server_id(secret: bytes, backend: str, server: str) -> bytes:
    """Return the id of a server: 22 characters of base64url."""
    message = f"sticky\0{backend}\0{server}".encode()
    mac = hmac.digest(secret, message, "sha256")[:_ID_BYTES]
    return urlsafe_b64encode(mac).rstrip(b"=")


class _Ids:
    """The ids of a backend's servers, by name and by id."""

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
        """Return the id of any server. The id of a removed server, which may still answer, is not
        stored.
        """
        return self._of.get(name) or server_id(self._secret, self._backend, name)

    def name(self, value: bytes) -> str | None:
        """Return the server of an id, or None if ``value`` is not an id of this backend."""
        return self._names.get(value)


@native(allow_interpreted_subclasses=True)
class _WithIds(Sticky):
    """Base of the classes that write ids into cookies."""

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
        """Return whether the client's own server is only full, so that the bond stays."""
        name = self.belongs(traffic)
        own = self.group.servers.get(name) if name is not None else None
        return own is not None and own is not server and own.honours and own not in traffic.tried


@native(allow_interpreted_subclasses=True)
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
        """Return the server of the first valid cookie. Invalid ones of another path, domain or time
        may precede it.
        """
        for value in request.cookies(self._cookie):
            name = self._ids.name(value)
            if name is not None:
                return name
        return None

    def server_request(self, traffic: HTTPFilterTraffic) -> None:
        """Filter phase: remove our cookie from the request to the server."""
        head = traffic.server_request
        if head is not None:
            remove_cookie(head, self._cookie)

    def response(self, traffic: HTTPFilterTraffic) -> None:
        """Filter phase: set the cookie unless the client has the right one."""
        server: ServerState | None = traffic.server
        head = traffic.response
        if server is None or head is None:
            return
        remove_set_cookie(head, self._cookie)
        name = server.name
        value = traffic.request.cookie(self._cookie)
        if value is not None and value == self._ids.of(name):
            return  # most clients have the cookie already
        if self.belongs(traffic) == name or self._is_lent(traffic, server):
            return
        secure = self.options.secure
        if secure == "yes" or (secure == "auto" and traffic.scheme == "https"):
            words = self._secure
        else:
            words = self._plain
        value = self._cookie + b"=" + self._ids.of(name) + words
        head.add_header(b"Set-Cookie", value)
        if self.options.private and head.first(_CACHE_CONTROL) is None:
            head.add_header(b"Cache-Control", b"private")
        self.counters.cookies += 1


@native(allow_interpreted_subclasses=True)
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
        """Filter phase: give the server its original cookie value.

        Outdated ids are removed too.
        """
        head = traffic.server_request
        if head is not None:
            rewrite_cookie(head, self._cookie, _unprefixed)

    def response(self, traffic: HTTPFilterTraffic) -> None:
        """Filter phase: add the id to cookies that the server sets."""
        server: Any = traffic.server
        head = traffic.response
        if server is None or head is None:
            return
        mark = self._ids.of(server.name) + _MARK
        set_by_server = set_cookies_of(head, self._cookie)
        if not set_by_server:
            return
        head.remove(SET_COOKIE)
        for value in set_by_server:
            marked = value
            if sets_cookie(value, self._cookie):
                name, _, rest = value.partition(b"=")
                marked = name + b"=" + mark + rest.lstrip(b" \t")
                self.counters.cookies += 1
            head.add_header(b"Set-Cookie", marked)


@native(allow_interpreted_subclasses=True)
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
        """Return a digest of the value that the client sends."""
        request = context.request
        value = request.cookie(self._cookie) if request is not None else None
        return digest(value) if value else None

    def settled(self, context: PickContext, server: ServerState, moved: bool) -> None:
        """Update the server of a known session. An unknown session is not stored, because a client
        can invent it.
        """
        if moved:
            super().settled(context, server, moved)

    def response(self, traffic: HTTPFilterTraffic) -> None:
        """Filter phase: learn the cookie values that the server sets.

        Deleted cookies are not learned, because clients do not send them again.
        """
        server: Any = traffic.server
        head = traffic.response
        table = self.table
        if server is None or head is None or table is None:
            return
        for line in head.every(SET_COOKIE):
            if sets_cookie(line, self._cookie):
                value, _, words = line.partition(b"=")[2].partition(b";")
                value = value.strip().strip(b'"')
                if value and not _deletes(words):
                    table.put(digest(value), server.name)

    def identity(self) -> tuple[Any, ...]:
        """See :class:`Sticky`."""
        return (*super().identity(), self.options.name)


# -- cookie lines --------------------------------------------------------------------------------


def _unprefixed(value: bytes) -> bytes:
    quote = value[:1] if value[:1] == b'"' else b""
    mark, found, rest = value[len(quote) :].partition(_MARK)
    return quote + rest if found and _ID.fullmatch(mark) else value


def _deletes(words: bytes) -> bool:
    """Return whether the attributes of a Set-Cookie line end the cookie at once."""
    for word in words.split(b";"):
        key, _, value = word.strip().partition(b"=")
        if key.lower() == b"max-age":
            return value.strip().lstrip(b"-0") == b"" or value.strip().startswith(b"-")
    return False
