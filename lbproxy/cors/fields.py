"""PURE. The header fields that the CORS proxy forwards in each direction, and those that it
adds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from lbproxy.http.known import CLAIMED

__all__ = ["allow_fields", "is_policy_field", "request_fields", "response_fields"]

Fields = list[tuple[bytes, bytes]]

_FRAMING: Final = frozenset(
    b"connection content-length host keep-alive proxy-connection te trailer transfer-encoding"
    b" upgrade".split()
)
_NOT_TO_TARGET: Final = _FRAMING | CLAIMED | frozenset(b"cookie cookie2 expect via".split())
_NOT_TO_TARGET_PREFIXES: Final = (b"x-forwarded-", b"cf-", b"proxy-", b"sec-fetch-")
_NOT_TO_CLIENT: Final = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade"
    b" set-cookie set-cookie2 content-security-policy content-security-policy-report-only"
    b" strict-transport-security x-frame-options x-content-type-options clear-site-data"
    b" service-worker-allowed alt-svc refresh public-key-pins public-key-pins-report-only"
    b" nel report-to reporting-endpoints origin-agent-cluster proxy-authenticate"
    b" proxy-authentication-info x-final-url x-cache-status"
    # state of an origin
    b" accept-ch critical-ch expect-ct sec-session-registration secure-session-registration"
    b" set-login use-as-dictionary"
    # instructions to a web server in front of lbproxy, which would send its own file
    b" x-lighttpd-send-file x-lighttpd-send-tempfile x-reproxy-url x-sendfile"
    b" x-sendfile-temporary".split()
)
_NOT_TO_CLIENT_PREFIXES: Final = (b"access-control-", b"cross-origin-", b"x-accel-")
_BODY: Final = (b"content-",)


def request_fields(
    fields: Iterable[tuple[bytes, bytes]],
    *,
    own: Collection[bytes] = (),
    nominated: Collection[bytes] = (),
    key: bytes = b"",
    changes: Iterable[tuple[str, str]] = (),
    allowed: Collection[str] = (),
    body: bool = True,
    same_origin: bool = True,
    cookies: bool = False,
) -> Fields:
    """Return the fields of a request for the target, without its framing and Host.

    ``own``: names of the proxy's own fields. ``nominated``: those in Connection. Both are in lower
    case. ``key``: a Referer that contains it is dropped. ``changes``: ``reqHeaders`` of the call;
    only names in ``allowed`` (lower case) take effect. ``body`` False drops the fields of a body
    that a redirect has dropped. ``same_origin`` False drops Authorization and cookies, because a
    redirect has left the origin. ``cookies``: Cookie is forwarded.
    """
    kept = []
    for name, value in fields:
        low = name.lower()
        if low == b"cookie" and cookies and same_origin:
            kept.append((name, value))
            continue
        if low in _NOT_TO_TARGET or low.startswith(_NOT_TO_TARGET_PREFIXES):
            continue
        if low in own or low in nominated or (not body and low.startswith(_BODY)):
            continue
        if low == b"authorization" and not same_origin:
            continue
        if low == b"referer" and key and key in value:
            continue
        kept.append((name, value))
    allowed_now = [one for one in allowed if same_origin or one != "authorization"]
    return _changed(kept, changes, allowed_now, _NOT_TO_TARGET, _NOT_TO_TARGET_PREFIXES)


def response_fields(
    fields: Iterable[tuple[bytes, bytes]],
    *,
    origin: bytes | None,
    final_url: bytes,
    cache_status: bytes = b"",
    credentials: bool = False,
    nominated: Collection[bytes] = (),
    changes: Iterable[tuple[str, str]] = (),
    allowed: Collection[str] = (),
) -> Fields:
    """Return the fields of a target's response for the client, without its framing.

    ``origin``: that of the request, already allowed. ``final_url``: after redirects.
    ``cache_status``: value of X-Cache-Status, empty without a cache. ``changes``: ``resHeaders`` of
    the call. ``allowed``: names that they may set or remove. The fields of the policy are added
    last, so that neither the target nor the call can change them.
    """
    kept = []
    vary: list[bytes] = []
    for name, value in fields:
        low = name.lower()
        if low in _NOT_TO_CLIENT or low in nominated or low.startswith(_NOT_TO_CLIENT_PREFIXES):
            continue
        if low == b"vary":
            vary.append(value)
        elif low != b"content-length":
            kept.append((name, value))
    protected = _NOT_TO_CLIENT | {b"vary", b"content-length"}
    kept = _changed(kept, changes, allowed, protected, _NOT_TO_CLIENT_PREFIXES)
    if cache_status:
        kept.append((b"X-Cache-Status", cache_status))
    exposed = sorted({name.lower() for name, _ in kept} | {b"content-length", b"x-final-url"})
    kept.append((b"X-Final-URL", final_url))
    if origin is not None:
        kept.append((b"Access-Control-Expose-Headers", b", ".join(exposed)))
    kept += allow_fields(origin, credentials=credentials, vary=vary)
    kept.append((b"Content-Security-Policy", b"sandbox"))
    kept.append((b"X-Content-Type-Options", b"nosniff"))
    return kept


def allow_fields(
    origin: bytes | None, *, credentials: bool = False, vary: Iterable[bytes] = ()
) -> Fields:
    """Return the fields that let a page of ``origin`` read a response; ``vary``: of the target."""
    named = [one.strip() for line in vary for one in line.split(b",") if one.strip()]
    if not any(one.lower() in (b"origin", b"*") for one in named):
        named.append(b"Origin")
    fields = [(b"Vary", b", ".join(named))]
    if origin is not None:
        fields.append((b"Access-Control-Allow-Origin", origin))
        if credentials:
            fields.append((b"Access-Control-Allow-Credentials", b"true"))
    return fields


def is_policy_field(name: bytes) -> bool:
    """Return whether only the policy sets a response field: ``Access-Control-*``."""
    return name[:15].lower() == b"access-control-"


def _changed(
    fields: Fields,
    changes: Iterable[tuple[str, str]],
    allowed: Collection[str],
    protected: Collection[bytes],
    prefixes: tuple[bytes, ...],
) -> Fields:
    """Return ``fields`` after the ``changes`` of names that are allowed and not protected."""
    replaced: set[bytes] = set()
    for name, value in changes:
        low = name.lower().encode("ascii")
        if name.lower() not in allowed or low in protected or low.startswith(prefixes):
            continue
        if low not in replaced:
            replaced.add(low)
            fields = [pair for pair in fields if pair[0].lower() != low]
        if value:
            fields.append((name.encode("ascii"), value.encode("ascii")))
    return fields
