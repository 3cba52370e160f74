"""PURE. Heads of stored responses, prepared once for all their hits."""

from __future__ import annotations

from typing import Any, Final

from mypy_extensions import i64

from lbproxy.cache.vary import Selected, normal_value
from lbproxy.http.known import ASKS_CACHE, AUTHORIZATION, COOKIE, IF_NONE_MATCH
from lbproxy.http.message import RequestHead, ResponseHead, field_name
from lbproxy.http.scan import EMPTY, Lines, lines_of

__all__ = ["HitRules", "ReadyHead", "has_cookies", "is_plain", "ready_head"]

_READ: Final = 1 << ASKS_CACHE | 1 << AUTHORIZATION
"""Request fields that only the rules themselves can judge."""

_ACCEPT_ENCODING: Final = field_name(b"accept-encoding")
_COOKIE: Final = field_name(b"cookie")
_IF_NONE_MATCH: Final = field_name(b"if-none-match")


class HitRules:
    """The part of a policy that decides whether a request may take the short path.

    ``usable``: the policy has neither conditions nor its own key. ``whole_query``: the query is
    part of the key unchanged. ``cookies``: the policy has patterns of cookies. ``status``: the
    beginning of Cache-Status of a fresh hit, up to its ``ttl``; None without the field.
    """

    __slots__ = ("cookies", "status", "usable", "whole_query")

    def __init__(
        self, usable: bool, whole_query: bool, cookies: bool, status: bytes | None
    ) -> None:
        self.usable = usable
        self.whole_query = whole_query
        self.cookies = cookies
        self.status = status


def is_plain(head: RequestHead, rules: HitRules) -> bool:
    """Return whether the target of ``head`` is that of the key, and only Cookie, If-None-Match and
    the fields in Vary affect the use of a stored response.

    The result is False for many other simple requests; the general rules handle them.
    """
    if not rules.usable or head.method != b"GET" or head.length != 0 or head.upgrade is not None:
        return False
    if head.listed or head.added is not None or head.before is not None or head.ours is not None:
        return False
    present: i64 = head.present
    if present & _READ or (rules.cookies and present >> COOKIE & 1):
        return False
    target, checked = head.target, head.checked
    if checked is not None and checked is not target and checked != target:
        return False  # a filter has changed it
    if not target.startswith(b"/"):
        return False
    return rules.whole_query or target.find(b"?") < 0


def has_cookies(head: RequestHead) -> bool:
    """Return whether a plain request has a cookie: a Cookie line with more than separators."""
    if not head.present >> COOKIE & 1:
        return False
    return any(value.strip(b"; \t") for value in head.every(_COOKIE))


class ReadyHead:
    """The head of a stored response, prepared for hits by :func:`ready_head`, or read from a record
    (:mod:`lbproxy.cache.readyrecord`).

    ``stored``: the response (:class:`~lbproxy.cache.stored.Stored`), None if it was read from a
    record. ``etag``: without ``W/``. ``usable``: the response may be served while it is fresh,
    without further checks.
    """

    __slots__ = (
        "etag",
        "first_age",
        "lifetime",
        "lines",
        "public",
        "reason",
        "received",
        "selected",
        "status",
        "stored",
        "usable",
    )

    def __init__(
        self,
        stored: Any,
        received: float,
        first_age: float,
        lifetime: float,
        status: int,
        reason: bytes,
        lines: Lines,
        etag: bytes | None,
        selected: Selected,
        public: bool,
        usable: bool,
    ) -> None:
        self.stored = stored
        self.received: float = received
        self.first_age: float = first_age
        self.lifetime: float = lifetime
        self.status: int = status
        self.reason: bytes = reason
        self.lines: Lines = lines
        self.etag: bytes | None = etag
        self.selected: Selected = selected
        self.public = public
        self.usable = usable

    def selected_by(self, request: RequestHead) -> bool:
        """Return whether the request has the values that selected the response."""
        for name, wanted in self.selected:
            known = _ACCEPT_ENCODING if name == b"accept-encoding" else field_name(name)
            if normal_value(name, request.every(known)) != wanted:
                return False
        return True

    def age_at(self, now: float) -> float:
        """Return the age in seconds (RFC 9111 §4.2.3); negative if only the general rules can
        decide.
        """
        age = self.first_age + abs(now - self.received)
        return age if self.usable and age < self.lifetime else -1.0

    def may_answer(self, request: RequestHead) -> bool:
        """Return whether a fresh response certainly answers ``request`` with its whole body."""
        present: i64 = request.present
        if present >> COOKIE & 1 and not self.public:
            return False
        return not present >> IF_NONE_MATCH & 1 or self._is_modified(request)

    def _is_modified(self, request: RequestHead) -> bool:
        """Return whether no entity tag of If-None-Match can match the response."""
        if self.status != 200:
            return True
        for value in request.every(_IF_NONE_MATCH):
            if b"*" in value or (self.etag is not None and self.etag in value):
                return False
        return True

    def head(self, age: float, length: int, rules: HitRules) -> ResponseHead:
        """Return the head for one client, with Age and Cache-Status."""
        found = ResponseHead(self.status, None, self.reason, length=length, lines=self.lines)
        lines = [(b"Age", str(int(age)).encode())]
        if rules.status is not None:
            left = str(int(self.lifetime - age))
            lines.append((b"Cache-Status", rules.status + left.encode()))
        found.before = lines  # unlike added lines, they cannot be those of a hop
        return found


def ready_head(stored: Any) -> ReadyHead:
    """Return a response (:class:`~lbproxy.cache.stored.Stored`) prepared for hits."""
    usable = not stored.control.no_cache and not stored.purged
    etag: bytes | None = stored.header(b"etag")
    lines: Lines = EMPTY
    try:
        lines = lines_of([pair for pair in stored.headers if pair[0].lower() != b"age"])
    except (ValueError, TypeError):
        usable = False
    return ReadyHead(
        stored,
        stored.received,
        stored.first_age,
        stored.lifetime,
        stored.status,
        stored.reason,
        lines,
        None if etag is None else etag.removeprefix(b"W/"),
        stored.selected,
        stored.public,
        usable,
    )
