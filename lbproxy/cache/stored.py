"""PURE. A stored response: its head, its times, and the request fields that selected it."""

from __future__ import annotations

from attrs import evolve, field, frozen

from lbproxy.cache.age import initial_age
from lbproxy.cache.control import Control
from lbproxy.http.headerlist import every_value, first_value
from lbproxy.http.message import Headers, field_name

__all__ = ["Stored", "without"]


@frozen(eq=False)
class Stored:
    """The head of a stored response, as sent by the server, with the cache's data about it.

    ``url``: its public URL. ``headers``: without the fields that are not stored. ``asked`` and
    ``received``: when its request was sent and its head received, in seconds since the epoch.
    ``lifetime``: seconds of freshness; ``stated`` if the response contains it. ``rule``: source of
    the lifetime, for people. ``selected``: the request's values of the fields in Vary, by name in
    lower case. ``tags`` and ``groups``: names for purges. ``length``: bytes of the body.
    ``purged``: a soft purge made it stale. ``public``: clients with cookies may share it.
    ``first_age``: its age in seconds at its arrival, which every hit needs.
    """

    url: bytes
    status: int
    reason: bytes
    headers: Headers
    control: Control
    asked: float
    received: float
    lifetime: float
    stated: bool
    rule: str
    length: int
    selected: tuple[tuple[bytes, bytes | None], ...] = ()
    tags: frozenset[bytes] = frozenset()
    groups: frozenset[bytes] = frozenset()
    purged: bool = False
    public: bool = False
    first_age: float = field(init=False)

    @first_age.default
    def _(self) -> float:
        return initial_age(self, self.asked, self.received)

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of ``name`` (lower case), or None."""
        return first_value(self.headers, field_name(name))

    def header_values(self, name: bytes) -> list[bytes]:
        """Return all values of ``name`` (lower case) in order."""
        return every_value(self.headers, field_name(name))

    def softly_purged(self) -> Stored:
        """Return this response marked as stale."""
        return evolve(self, purged=True)


def without(headers: Headers, names: frozenset[bytes]) -> Headers:
    """Return ``headers`` without the names in ``names`` (lower case)."""
    return [pair for pair in headers if pair[0].lower() not in names]
