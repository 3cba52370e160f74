"""PURE. The policy of a cache: the operator's additions to RFC 9111."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

from attrs import field, frozen

from lbproxy.cache.freshness import HEURISTIC
from lbproxy.cache.targeted import TARGETS
from lbproxy.http.paths import normal_path
from lbproxy.http.patternkey import path_patterns

__all__ = ["TTL", "Cookies", "Disk", "KeyPart", "NoCache", "Policy", "Query", "SetCookie"]


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> Callable[[str], Any]:
    """Return a test for names that match ``pattern``, in which only ``*`` and ``?`` are special, so
    that ``filter[*]`` matches ``filter[a]``.
    """
    return re.compile(translate(pattern.replace("[", "[[]"))).match


@lru_cache(maxsize=4096)
def _path_test(pattern: str) -> Callable[[bytes], bool]:
    """Return a test for normalised paths; ``pattern`` is one of the routes' verb ``path``."""
    return path_patterns([pattern]).match


class SetCookie(Enum):
    """Handling of responses with Set-Cookie."""

    REFUSE = "refuse"
    STRIP = "strip"
    STORE = "store"


class NoCache(Enum):
    """Handling of requests with ``no-cache`` or ``max-age=0``."""

    REVALIDATE = "revalidate"
    OBEY = "obey"
    IGNORE = "ignore"


@frozen
class TTL:
    """A line of ``ttl``: matching responses are fresh for ``seconds``.

    ``statuses``: empty for all except the errors that only a stated lifetime makes storable.
    ``type``: pattern of the media type with ``*``; ``path``: pattern of the path as in routes; both
    empty for all. ``default``: only for responses without a lifetime. ``force``: also for responses
    that must not be stored otherwise. ``line``: the text, for people.
    """

    seconds: float
    statuses: frozenset[int] = frozenset()
    type: str = ""
    path: str = ""
    default: bool = False
    force: bool = False
    line: str = ""

    def covers(self, other: TTL) -> bool:
        """Return whether this line matches every response that ``other`` matches."""
        if self.statuses:
            statuses = bool(other.statuses) and other.statuses <= self.statuses
        else:
            statuses = all(status < 400 or status in HEURISTIC for status in other.statuses)
        same = self.type in ("", other.type) and self.path in ("", other.path)
        return statuses and same and (other.default or not self.default)

    def matches(self, status: int, media: str, path: bytes, stated: bool) -> bool:
        """Return whether the line matches a response. ``path``: that of the request, normalised
        (:func:`~lbproxy.http.paths.normal_path`).
        """
        if self.default and stated:
            return False
        if self.statuses:
            if status not in self.statuses:
                return False
        elif status >= 400 and status not in HEURISTIC:
            return False
        if self.type and not _glob(self.type)(media):
            return False
        return not self.path or _path_test(self.path)(path)


@frozen
class Disk:
    """A folder for cached files. ``folder``: its path. ``size``: maximum bytes of the files."""

    folder: str
    size: int


@frozen
class Query:
    """The parts of the query that belong to the key.

    ``sort``: parameters are sorted by name, and sent in that order. ``ignore``: patterns of ignored
    parameters. ``keep``: if not empty, all other parameters are ignored.
    """

    sort: bool = False
    ignore: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @property
    def trivial(self) -> bool:
        """True if the query is part of the key unchanged."""
        return not (self.sort or self.ignore or self.keep)

    def drops(self, name: str) -> bool:
        """Return whether the parameter ``name`` is ignored."""
        if self.keep:
            return not _matches(name, self.keep)
        return _matches(name, self.ignore)

    def apply(self, query: bytes) -> bytes:
        """Return ``query`` without ignored parameters, sorted if configured.

        Parameters keep their encoding; those of one name keep their order.
        """
        if self.trivial or not query:
            return query
        parts = [part for part in query.split(b"&") if not self.drops(_name(part))]
        if self.sort:
            parts.sort(key=lambda part: part.partition(b"=")[0])
        return b"&".join(parts)


def _name(part: bytes) -> str:
    return part.partition(b"=")[0].decode("latin-1")


@frozen
class Cookies:
    """Patterns of cookies that are ignored, that are part of the key, and that bypass the cache."""

    ignore: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()

    def names_all(self, names: frozenset[str]) -> bool:
        """Return whether the policy names every cookie, so that it covers requests with these
        cookies.
        """
        patterns = self.ignore + self.key + self.bypass
        if not patterns:
            return not names
        return all(_matches(name, patterns) for name in names)

    def bypasses(self, names: frozenset[str]) -> bool:
        """Return whether one of the cookies bypasses the cache."""
        return bool(self.bypass) and any(_matches(name, self.bypass) for name in names)

    def ignores(self, name: str) -> bool:
        """Return whether the cookie is ignored. Cookies of the key are not."""
        return _matches(name, self.ignore) and not _matches(name, self.key)

    def in_key(self, name: str) -> bool:
        """Return whether the cookie is part of the key."""
        return _matches(name, self.key)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(_glob(pattern)(name) for pattern in patterns)


@frozen
class KeyPart:
    """A ``{variable}`` of ``key``: its ``name``, and the ``argument`` of ``header``, ``query`` or
    ``cookie``.

    The argument is in lower case for a header.
    """

    name: str
    argument: str = ""

    @property
    def text(self) -> str:
        """The variable as it is written."""
        return f"{{{self.name}:{self.argument}}}" if self.argument else f"{{{self.name}}}"


DEFAULT_GRACE: Final = 0.0


@frozen
class Policy:
    """The rules of one ``[cache NAME]`` section. Times are in seconds, sizes in bytes.

    ``grace``: how long a stale response may be used if the server fails. ``grace_refresh``: how
    long it may be used while it is fetched again in the background. ``negative``: lifetime of 404,
    405, 410, 414 and 501 without explicit freshness. ``min_uses``: requests of one key before a
    response is stored. ``variants``: responses of one key, selected by Vary. ``targets``: RFC 9213
    fields. ``key``: its variables, instead of scheme, host, path and query; empty for these.
    ``post``: maximum size of the body of a POST whose response may be stored, 0 for none.
    ``search``: No-Vary-Search is obeyed.
    """

    post: int = 0
    key: tuple[KeyPart, ...] = ()
    query: Query = field(factory=Query)
    cookies: Cookies = field(factory=Cookies)
    ttl: tuple[TTL, ...] = ()
    set_cookie: SetCookie = SetCookie.REFUSE
    client_no_cache: NoCache = NoCache.REVALIDATE
    grace: float = DEFAULT_GRACE
    grace_refresh: float = DEFAULT_GRACE
    negative: float = 1.0
    max_object: int = 8 * 1024 * 1024
    min_uses: int = 1
    variants: int = 64
    targets: tuple[bytes, ...] = TARGETS
    search: bool = True

    @property
    def needs_path(self) -> bool:
        """True if a line of ``ttl`` depends on the path."""
        return any(line.path for line in self.ttl)

    @property
    def parameters(self) -> frozenset[str] | None:
        """The query parameters in ``key``; None if it contains the whole query."""
        if not self.key or any(one.text in ("{query}", "{uri}") for one in self.key):
            return None
        return frozenset(one.argument for one in self.key if one.name == "query")

    def lines_of(self, path: bytes) -> list[str]:
        """Return the lines of ``ttl`` that responses of this path may match, up to the first that
        matches all but errors, and those that name an error.
        """
        normal, found = normal_path(path), []
        if normal is None and self.needs_path:
            return []  # nothing is stored
        rest = False  # only other errors are left
        for one in self.ttl:
            if rest and not any(status >= 400 for status in one.statuses):
                continue
            sample = next(iter(one.statuses), 200)
            media = one.type.replace("*", "x") if one.type else "text/html"
            if not one.matches(sample, media, normal or b"", stated=False):
                continue
            found.append(one.line)
            rest = rest or not (one.statuses or one.type or one.default)
        return found
