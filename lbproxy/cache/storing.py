"""PURE. Storing responses (RFC 9111 §3): whether, which parts, and for how long."""

from __future__ import annotations

from email.utils import formatdate
from typing import Final

from attrs import frozen

from lbproxy.cache.age import initial_age
from lbproxy.cache.asked import Asked
from lbproxy.cache.catalog import path_group
from lbproxy.cache.control import Control
from lbproxy.cache.freshness import HEURISTIC, FreshnessLifetime, lifetime_of
from lbproxy.cache.key import sent_fields
from lbproxy.cache.policy import TTL, Policy, SetCookie
from lbproxy.cache.search import search_rule
from lbproxy.cache.stored import Stored, without
from lbproxy.cache.targeted import response_control
from lbproxy.cache.vary import ANY, selected_by, vary_names
from lbproxy.http.message import Headers, RequestHead, ResponseHead

__all__ = ["Refusal", "store"]

_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info",
     b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
     b"upgrade"}
)  # fmt: skip
"""Hop-by-hop fields, which are never stored (RFC 9111 §3.1)."""

UNDERSTOOD: Final = HEURISTIC | {302, 303, 307, 400, 401, 402, 403, 406, 408, 409, 411, 412, 413,
                                 415, 417, 421, 422, 425, 426, 429, 431, 451, 500, 502, 503, 504,
                                 505}  # fmt: skip
"""Final statuses that lbproxy understands as a cache (RFC 9111 §3); 304 is handled before."""

NEGATIVE: Final = frozenset({404, 405, 410, 414, 501})


@frozen
class Refusal:
    """The refusal to store a response. ``reason``: for people. ``rule``: the section that requires
    it. ``is_silent``: the response says nothing about caching, and states no lifetime.
    """

    reason: str
    rule: str
    is_silent: bool = False


def store(
    url: bytes,
    request: RequestHead,
    asked: Asked,
    response: ResponseHead,
    policy: Policy,
    times: tuple[float, float],
) -> Stored | Refusal:
    """Return the response as it is stored, or why it is not stored.

    ``times``: when the request was sent and when the head arrived, in seconds since the epoch.
    """
    control = response_control(response, policy.targets)
    lifetime = lifetime_of(response, response.status, control, times[1])
    line = _line(policy, request, response, stated=lifetime is not None and lifetime.stated)
    refusal = _refusal(asked, response, control, policy, forced=line is not None and line.force)
    if refusal is not None:
        return refusal
    if line is not None:
        lifetime = FreshnessLifetime(line.seconds, True, f"ttl {line.line}")
    elif lifetime is None and response.status in NEGATIVE:
        lifetime = FreshnessLifetime(policy.negative, False, "negative")
    if lifetime is None:
        lifetime = FreshnessLifetime(0, False, "no lifetime")
    usable = lifetime.seconds - (0 if line is not None else initial_age(response, *times))
    if usable <= 0 and not _validator(response) and not _lasting(control, policy):
        silent = lifetime.rule == "no lifetime"
        reason = f"stale at once ({lifetime.rule}) and without a validator"
        return Refusal(reason, "RFC 9111 §3", silent)
    guessed = line is None and not lifetime.stated
    if guessed and asked.method == b"POST":
        return Refusal("POST without stated freshness", "RFC 9110 §9.3.3")
    if guessed and response.status not in HEURISTIC and not control.public:
        reason = f"status {response.status} without stated freshness"
        return Refusal(reason, "RFC 9111 §3", is_silent=True)
    return Stored(
        url=url,
        status=response.status,
        reason=response.reason,
        headers=_headers(response, control, policy, times[1]),
        control=control,
        asked=times[0],
        received=times[1],
        lifetime=lifetime.seconds,
        stated=lifetime.stated,
        rule=lifetime.rule,
        length=response.length or 0,
        selected=selected_by(vary_names(response), sent_fields(request, policy)),
        tags=_tags(response),
        groups=_groups(url, response, policy),
        public=shared_with_cookies(control),
    )


def _line(policy: Policy, request: RequestHead, response: ResponseHead, stated: bool) -> TTL | None:
    """Return the first line of ``ttl`` that matches this response."""
    if not policy.ttl:
        return None
    media = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    path = request.path.decode("latin-1")
    for line in policy.ttl:
        if line.matches(response.status, media.decode("latin-1"), path, stated):
            return line
    return None


def _refusal(
    asked: Asked, response: ResponseHead, control: Control, policy: Policy, forced: bool
) -> Refusal | None:
    if asked.method not in (b"GET", b"HEAD") and not (asked.method == b"POST" and policy.post):
        return Refusal("method", "RFC 9111 §3")
    if response.status == 206:
        return Refusal("partial response", "RFC 9111 §3.3")
    if response.status not in UNDERSTOOD:
        return Refusal(f"status {response.status}", "RFC 9111 §3")
    if asked.control.no_store:
        return Refusal("request says no-store", "RFC 9111 §5.2.1.5")
    if asked.cookies and not asked.named and not shared_with_cookies(control):
        return Refusal("request has cookies that the policy does not name", "cookies")
    if forced:
        return None
    if control.no_store and not control.must_understand:
        return Refusal("no-store", "RFC 9111 §5.2.2.5")
    if control.private:
        return Refusal("private", "RFC 9111 §5.2.2.7")
    if asked.authorized and not (
        control.public or control.must_revalidate or control.s_maxage is not None
    ):
        return Refusal("request has Authorization", "RFC 9111 §3.5")
    if ANY in vary_names(response):
        return Refusal("Vary: *", "RFC 9111 §4.1")
    if policy.set_cookie is SetCookie.REFUSE and response.header(b"set-cookie") is not None:
        return Refusal("Set-Cookie", "set_cookie = refuse")
    return None


def shared_with_cookies(control: Control) -> bool:
    """Return whether a response may be used for requests with cookies that the policy does not
    name.
    """
    if control.field != b"cache-control":
        return control.public or bool(control.s_maxage) or bool(control.max_age)
    return control.public or control.s_maxage is not None


def _validator(response: ResponseHead) -> bool:
    return any(response.header(name) is not None for name in (b"etag", b"last-modified"))


def _lasting(control: Control, policy: Policy) -> bool:
    """Return whether a stale response may be used without contacting the server first."""
    allowed = not control.forbids_stale
    stated = bool(control.stale_while_revalidate or control.stale_if_error)
    return allowed and (stated or bool(policy.grace or policy.grace_refresh))


def _headers(response: ResponseHead, control: Control, policy: Policy, received: float) -> Headers:
    """Return the fields that are stored (RFC 9111 §3.1), and a Date (RFC 9110 §6.6.1).

    Fields named by ``no-cache`` or ``private`` are excluded, because they would require the server
    for each use.
    """
    gone = _HOP | control.private_fields | control.no_cache_fields | frozenset(response.nominated)
    gone |= {b"content-length", b"age"}
    if policy.set_cookie is not SetCookie.STORE:  # otherwise a line of ttl with ``force`` stores it
        gone |= {b"set-cookie"}
    lines = response.pairs()  # not the list form, which would be scanned when it is sent
    kept = [(name, value) for name, value in lines if name.lower() not in gone]
    if response.header(b"date") is None:
        kept.append((b"Date", formatdate(received, usegmt=True).encode()))
    return kept + [pair for pair in lines if pair[0].lower() == b"age"]


def _tags(response: ResponseHead) -> frozenset[bytes]:
    """Return the tags of a response.

    Surrogate-Key and xkey are separated by blanks, Cache-Tag by commas.
    """
    found: set[bytes] = set()
    for name in (b"surrogate-key", b"xkey"):
        for value in response.header_values(name):
            found.update(value.replace(b",", b" ").split())
    for value in response.header_values(b"cache-tag"):
        found.update(tag.strip() for tag in value.split(b",") if tag.strip())
    return frozenset(found)


def _groups(url: bytes, response: ResponseHead, policy: Policy) -> frozenset[bytes]:
    """Return the cache groups of a response (RFC 9875 §2). An invalid field counts as absent."""
    stated = group_names(response.header_values(b"cache-groups"))
    if policy.search and search_rule(response) is not None:
        return stated | {path_group(url)}
    return stated


def group_names(values: list[bytes]) -> frozenset[bytes]:
    """Return the strings of a list field, or an empty set if it is invalid."""
    if not values:
        return frozenset()
    import http_sf

    try:
        members = http_sf.parse(b", ".join(values), tltype="list")
    except (ValueError, http_sf.StructuredFieldError):
        return frozenset()
    if not isinstance(members, list):
        return frozenset()
    names = [item[0] for item in members if isinstance(item, tuple)]
    return frozenset(name.encode() for name in names if type(name) is str)


def stored_fields(headers: Headers, names: frozenset[bytes]) -> Headers:
    """Return ``headers`` without ``names`` and hop-by-hop fields."""
    return without(headers, names | _HOP)
