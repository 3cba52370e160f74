"""PURE. Storing responses (RFC 9111 §3): whether, which parts, and for how long."""

from __future__ import annotations

from email.utils import formatdate
from typing import Final

from attrs import frozen

from lbproxy.cache.age import initial_age
from lbproxy.cache.asked import Asked
from lbproxy.cache.catalog import path_group
from lbproxy.cache.control import Control, parse_control
from lbproxy.cache.freshness import HEURISTIC, FreshnessLifetime, lifetime_of
from lbproxy.cache.key import sent_fields
from lbproxy.cache.policy import TTL, Policy, SetCookie
from lbproxy.cache.search import search_rule
from lbproxy.cache.stored import Stored, without
from lbproxy.cache.targeted import response_control
from lbproxy.cache.vary import ANY, selected_by, vary_names
from lbproxy.http.message import Headers, RequestHead, ResponseHead, field_name
from lbproxy.http.paths import normal_path

__all__ = ["Refusal", "is_silent", "store"]

_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info",
     b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
     b"upgrade"}
)  # fmt: skip
"""Hop-by-hop fields, which are never stored (RFC 9111 §3.1)."""

_COOKIE_UNSTORED: Final = _HOP | {b"content-length", b"age", b"set-cookie"}
"""Fields that are not stored, Set-Cookie included."""
_UNSTORED: Final = _COOKIE_UNSTORED - {b"set-cookie"}
_NO_NAMES: Final[frozenset[bytes]] = frozenset()
_STORE: Final = SetCookie.STORE  # each looked up once
_REFUSE: Final = SetCookie.REFUSE

_CACHE_CONTROL: Final = field_name(b"cache-control")
_CACHE_GROUPS: Final = field_name(b"cache-groups")
_CACHE_TAG: Final = field_name(b"cache-tag")
_DATE: Final = field_name(b"date")
_ETAG: Final = field_name(b"etag")
_LAST_MODIFIED: Final = field_name(b"last-modified")
_NO_VARY_SEARCH: Final = field_name(b"no-vary-search")
_SET_COOKIE: Final = field_name(b"set-cookie")
_SURROGATE_KEY: Final = field_name(b"surrogate-key")
_XKEY: Final = field_name(b"xkey")

UNDERSTOOD: Final = HEURISTIC | {302, 303, 307, 400, 401, 402, 403, 406, 408, 409, 411, 412, 413,
                                 415, 417, 421, 422, 425, 426, 429, 431, 451, 500, 502, 503, 504,
                                 505}  # fmt: skip
"""Final statuses that lbproxy understands as a cache. Others are stored if they state a lifetime,
but not with must-understand (RFC 9111 §3).
"""

NEGATIVE: Final = frozenset({404, 405, 410, 414, 501})

PERSONAL: Final = {
    407: "RFC 9110 §15.5.8",
    408: "RFC 9110 §15.5.9",
    412: "RFC 9110 §15.5.13",
    416: "RFC 9110 §15.5.17",
    417: "RFC 9110 §15.5.18",
    421: "RFC 9110 §15.5.20",
    425: "RFC 8470 §5.2",
    428: "RFC 6585 §3",
    429: "RFC 6585 §4",
    431: "RFC 6585 §5",
    511: "RFC 6585 §6",
}
"""Statuses that depend on a client, a connection or request fields outside the key, with the
sections that define them. They are stored only if a line of ``ttl`` names them.
"""


@frozen
class Refusal:
    """The refusal to store a response. ``reason``: for people. ``rule``: the section that requires
    it.
    """

    reason: str
    rule: str


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
    control = _control(response, policy)
    lifetime = lifetime_of(response, response.status, control, times[1])
    path = _path_for(policy, request)
    if path is None:
        return Refusal("ambiguous path, and lines of ttl depend on the path", "ttl")
    line = _line(policy, path, response, stated=lifetime is not None and lifetime.stated)
    varied = vary_names(response)
    forced = line is not None and line.force
    refusal = _refusal(asked, response, control, policy, varied, forced)
    if refusal is not None:
        return refusal
    if line is not None:
        lifetime = FreshnessLifetime(line.seconds, True, f"ttl {line.line}")
    elif lifetime is None and response.status in NEGATIVE:
        lifetime = FreshnessLifetime(policy.negative, False, "negative")
    if lifetime is None:
        lifetime = FreshnessLifetime(0, False, "no lifetime")
    usable = 1.0  # with a validator the response is stored even if it is stale at once
    if not _validator(response):
        usable = lifetime.seconds - (0 if line is not None else initial_age(response, *times))
    if usable <= 0 and not _validator(response) and not _lasting(control, policy):
        reason = f"stale at once ({lifetime.rule}) and without a validator"
        return Refusal(reason, "RFC 9111 §3")
    guessed = line is None and not lifetime.stated
    if guessed and asked.method == b"POST":
        return Refusal("POST without stated freshness", "RFC 9110 §9.3.3")
    if guessed and response.status not in HEURISTIC and not control.public:
        reason = f"status {response.status} without stated freshness"
        return Refusal(reason, "RFC 9111 §3")
    if response.status in PERSONAL and (line is None or response.status not in line.statuses):
        return Refusal(f"status {response.status} is about one request", PERSONAL[response.status])
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
        selected=selected_by(varied, sent_fields(request, policy)) if varied else (),
        tags=_tags(response),
        groups=_groups(url, response, policy),
        public=shared_with_cookies(control),
    )


def is_silent(
    request: RequestHead, response: ResponseHead, policy: Policy, received: float
) -> bool:
    """Return whether neither a response nor a line of ``ttl`` says anything about caching.

    Such a response has no lifetime, no Vary, no Set-Cookie and no directive that restricts its use.
    """
    control = _control(response, policy)
    if control.no_store or control.no_cache or control.private:
        return False
    if control.no_cache_fields or control.private_fields or vary_names(response):
        return False
    if response.first(_SET_COOKIE) is not None:
        return False
    lifetime = lifetime_of(response, response.status, control, received)
    if lifetime is not None and lifetime.stated:
        return False
    path = _path_for(policy, request)
    return path is not None and _line(policy, path, response, stated=False) is None


def _control(response: ResponseHead, policy: Policy) -> Control:
    """Return the effective directives of a response; most have no targeted field."""
    for target in policy.targets:
        if response.header(target) is not None:
            return response_control(response, policy.targets)
    return parse_control(response.every(_CACHE_CONTROL))


def _path_for(policy: Policy, request: RequestHead) -> bytes | None:
    """Return the normalised path for lines of ``ttl``, b"" if no line needs it; None if it is
    ambiguous.
    """
    return normal_path(request.path) if policy.needs_path else b""


def _line(policy: Policy, path: bytes, response: ResponseHead, stated: bool) -> TTL | None:
    """Return the first line of ``ttl`` that matches this response; ``path`` is normalised."""
    if not policy.ttl:
        return None
    media = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    for line in policy.ttl:
        if line.matches(response.status, media.decode("latin-1"), path, stated):
            return line
    return None


def _refusal(
    asked: Asked,
    response: ResponseHead,
    control: Control,
    policy: Policy,
    varied: tuple[bytes, ...],
    forced: bool,
) -> Refusal | None:
    """Return why the response is not stored, or None. ``varied``: the names in Vary."""
    if asked.method not in (b"GET", b"HEAD") and not (asked.method == b"POST" and policy.post):
        return Refusal("method", "RFC 9111 §3")
    if response.status == 206:
        return Refusal("partial response", "RFC 9111 §3.3")
    if response.status not in UNDERSTOOD and (
        control.must_understand or response.status < 200 or response.status == 304
    ):
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
    if ANY in varied:
        return Refusal("Vary: *", "RFC 9111 §4.1")
    if policy.set_cookie is _REFUSE and response.first(_SET_COOKIE) is not None:
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
    return response.first(_ETAG) is not None or response.first(_LAST_MODIFIED) is not None


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
    # otherwise a line of ttl with ``force`` stores Set-Cookie
    gone: frozenset[bytes] = _UNSTORED if policy.set_cookie is _STORE else _COOKIE_UNSTORED
    if control.private_fields or control.no_cache_fields or response.nominated:
        gone |= control.private_fields | control.no_cache_fields | frozenset(response.nominated)
    kept: Headers = []
    ages: Headers = []
    for pair in response.pairs():  # not its list, which would be scanned when it is sent
        name = pair[0].lower()
        if name == b"age":
            ages.append(pair)
        elif name not in gone:
            kept.append(pair)
    if response.first(_DATE) is None:
        kept.append((b"Date", formatdate(received, usegmt=True).encode()))
    return kept + ages if ages else kept


def _tags(response: ResponseHead) -> frozenset[bytes]:
    """Return the tags of a response.

    Surrogate-Key and xkey are separated by blanks, Cache-Tag by commas.
    """
    blanks = response.every(_SURROGATE_KEY) + response.every(_XKEY)
    commas = response.every(_CACHE_TAG)
    if not blanks and not commas:
        return _NO_NAMES
    found: set[bytes] = set()
    for value in blanks:
        found.update(value.replace(b",", b" ").split())
    for value in commas:
        found.update([tag.strip() for tag in value.split(b",") if tag.strip()])
    return frozenset(found)


def _groups(url: bytes, response: ResponseHead, policy: Policy) -> frozenset[bytes]:
    """Return the cache groups of a response (RFC 9875 §2). An invalid field counts as absent."""
    groups = response.every(_CACHE_GROUPS)
    stated = group_names(groups) if groups else _NO_NAMES
    searched = policy.search and response.first(_NO_VARY_SEARCH) is not None
    if searched and search_rule(response) is not None:
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


def stored_fields(response: ResponseHead, names: frozenset[bytes]) -> Headers:
    """Return the fields of ``response`` without ``names`` and hop-by-hop fields. Those that
    Connection names are among the latter (RFC 9110 §7.6.1).
    """
    return without(response.pairs(), names | _HOP | frozenset(response.nominated))
