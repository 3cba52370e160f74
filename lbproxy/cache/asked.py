"""PURE. The properties of a request that the rules of the cache need."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from lbproxy.cache.control import NONE, Control, parse_control
from lbproxy.cache.policy import NoCache, Policy
from lbproxy.http.known import ASKS_CACHE, OVERRIDES
from lbproxy.http.message import RequestHead

__all__ = ["PLAIN", "PLAIN_WITH_COOKIES", "Asked", "ask"]

_SAFE = frozenset({b"GET", b"HEAD"})


@frozen
class Asked:
    """The properties of one request.

    ``control``: Cache-Control, or ``no-cache`` from Pragma alone (RFC 9111 §5.4). ``cookies``:
    it has cookies. ``named``: the policy names all of them. ``authorized``: it has
    Authorization. ``obstacle``: why the cache neither looks it up nor stores its response, or None.
    """

    method: bytes
    control: Control
    cookies: bool
    named: bool
    authorized: bool
    obstacle: str | None

    @property
    def personal(self) -> bool:
        """True if it has credentials, or cookies that the policy does not name."""
        return self.authorized or (self.cookies and not self.named)

    def demands(self, policy: Policy) -> bool:
        """Return whether the request must go to the server, regardless of stored responses and
        running fetches.
        """
        if policy.client_no_cache is NoCache.IGNORE:
            return False
        return self.control.no_cache or self.control.max_age == 0


PLAIN: Final = Asked(b"GET", NONE, False, True, False, None)
"""A request that :func:`~lbproxy.cache.ready.is_plain`, without cookies."""

PLAIN_WITH_COOKIES: Final = Asked(b"GET", NONE, True, False, False, None)
"""The same with cookies, of which the policy names none."""


def ask(head: RequestHead, policy: Policy) -> Asked:
    """Return the properties of ``head``."""
    control = parse_control(head.header_values(b"cache-control"))
    if control is NONE and b"no-cache" in _tokens(head.header_values(b"pragma")):
        control = Control(field=b"pragma", no_cache=True)
    cookies = cookie_names(head.header_values(b"cookie"))
    return Asked(
        method=head.method,
        control=control,
        cookies=bool(cookies),
        named=policy.cookies.names_all(cookies),
        authorized=head.header(b"authorization") is not None,
        obstacle=_obstacle(head, policy, cookies),
    )


def _obstacle(head: RequestHead, policy: Policy, cookies: frozenset[str]) -> str | None:
    """Return why the cache neither looks up nor stores, or None."""
    if head.method == b"POST" and policy.post:
        if head.length is None or head.length > policy.post:
            return "body of unknown length or larger than post"
    elif head.method not in _SAFE:
        return "method"
    elif head.length != 0:
        return "request has a body"
    if head.upgrade is not None:
        return "upgrade"
    if policy.cookies.bypasses(cookies):
        return "cookie bypasses"
    names = [] if _has_no_override(head) else [name.lower() for name, _ in head.pairs()]
    return next((name.decode() for name in names if name in OVERRIDES), None)


def _has_no_override(head: RequestHead) -> bool:
    """Return whether certainly no field of ``head`` overrides the request line: only parsed lines
    are known by their numbers.
    """
    parsed = not head.listed and head.added is None and head.before is None
    return parsed and head.ours is None and not head.present >> ASKS_CACHE & 1


def cookie_names(values: list[bytes]) -> frozenset[str]:
    """Return the names of all cookies. The text of a cookie without ``=`` counts as its name."""
    return frozenset(
        part.partition(b"=")[0].strip().decode("latin-1")
        for value in values
        for part in value.split(b";")
        if part.strip()
    )


def _tokens(values: list[bytes]) -> list[bytes]:
    return [part.strip(b" \t").lower() for value in values for part in value.split(b",")]
