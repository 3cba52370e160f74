"""DATA. Heads of a CORS proxy: of the request to a target, and of the response to the client."""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from lbproxy.cors.fields import is_policy_field, request_fields, response_fields
from lbproxy.cors.redirects import passed_location
from lbproxy.cors.sharing import lookup_fields, shared_fields
from lbproxy.guard import AllowedTarget
from lbproxy.http.message import RequestHead, ResponseHead
from lbproxy.proxy.features.corsproxy.egress import EgressSpec
from lbproxy.proxy.features.corsproxy.judge import AllowedCall
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = [
    "FetchRules",
    "cache_traffic",
    "cached_request",
    "client_response",
    "final_url",
    "hop_request",
    "sharing_name",
    "target_request",
    "target_response",
]

FINAL_URL: Final = b"X-Final-URL"

_HOP: Final = frozenset(
    b"connection keep-alive location proxy-connection te trailer transfer-encoding upgrade"
    b" x-final-url".split()
)


@frozen
class FetchRules:
    """Configuration keys of the frontend that affect fetches; see the reference."""

    follow: bool
    own: frozenset[bytes]
    req_headers: frozenset[str]
    res_headers: frozenset[str]
    max_response: int
    timeout_total: float
    redirect_buffer: int
    by_key: bool
    convert_max: int

    @classmethod
    def of(cls, spec: Any) -> FetchRules:
        """Return the rules of a frontend."""
        # without keys, a header of that name belongs to the target's API
        own = (spec.target_header, spec.key_header) if spec.keys else (spec.target_header,)
        return cls(
            follow=spec.redirects == "follow",
            own=frozenset(name.lower().encode("ascii") for name in own),
            req_headers=frozenset(name.lower() for name in spec.req_headers),
            res_headers=frozenset(name.lower() for name in spec.res_headers),
            max_response=spec.max_response,
            timeout_total=spec.timeout_total,
            redirect_buffer=spec.redirect_buffer,
            by_key=spec.cache_by_key,
            convert_max=spec.convert_max,
        )


def target_request(
    head: RequestHead,
    asked: AllowedCall,
    rules: FetchRules,
    target: AllowedTarget,
    *,
    method: bytes,
    body: bool,
    same_origin: bool,
    via: bytes = b"",
) -> RequestHead:
    """Return the head to send to ``target`` for the client's ``head``.

    ``body``: whether the body is sent. ``same_origin``: no redirect has left the first origin.
    ``via``: the path of the request, to end loops of the proxy to itself.
    """
    fields = request_fields(
        head.pairs(),
        own=rules.own,
        nominated=head.nominated,
        key=asked.call.key.encode("utf-8"),
        changes=asked.call.req_headers,
        allowed=rules.req_headers,
        body=body,
        same_origin=same_origin,
        cookies=asked.credentials,
    )
    if asked.call.convert or asked.call.extract:
        # the whole body is needed, without coding
        fields = [pair for pair in fields if pair[0].lower() not in (b"accept-encoding", b"range")]
        fields.append((b"Accept-Encoding", b"identity"))
    if via:
        fields.append((b"Via", via))
    return RequestHead(
        method,
        target.path.encode("ascii"),
        fields,
        host=target.authority.encode("ascii"),
        length=head.length if body else 0,
        upgrade=head.upgrade if head.upgrade == b"websocket" else None,
    )


def hop_request(
    request: RequestHead, target: AllowedTarget, hop: AllowedTarget, spec: EgressSpec
) -> RequestHead:
    """Return the call to the CORS proxy at ``hop`` (exit ``spec``) that fetches ``request``."""
    own = (spec.key_header.lower(), spec.target_header.lower(), "host")
    names = {name.encode("ascii") for name in own}
    fields = [pair for pair in request.pairs() if pair[0].lower() not in names]
    if spec.api_key:
        fields.append((spec.key_header.encode("ascii"), spec.api_key.encode("utf-8")))
    fields.append((spec.target_header.encode("ascii"), target.url.encode("ascii")))
    return RequestHead(
        request.method,
        b"/",
        fields,
        host=hop.authority.encode("ascii"),
        length=request.length,
        upgrade=request.upgrade,
    )


def target_response(
    head: ResponseHead,
    asked: AllowedCall,
    url: str,
    *,
    moved: AllowedTarget | None,
    shared: bool,
) -> ResponseHead:
    """Return the final ``head`` of a target, with its ``url``.

    ``moved``: target of a redirect that is passed on, else None. ``shared``: the cache gets the
    response.
    """
    gone = {*_HOP, *head.nominated}
    pairs = [pair for pair in head.pairs() if pair[0].lower() not in gone]
    if moved is not None:
        pairs.append((b"Location", passed_location(moved.url)))
    pairs.append((FINAL_URL, url.encode("ascii", "replace")))
    if shared:
        pairs = shared_fields(pairs, head.status, asked.ttl)
    return ResponseHead(
        head.status, pairs, head.reason, head.version, head.length, upgrade=head.upgrade
    )


def final_url(head: ResponseHead) -> str:
    """Return the URL that :func:`target_response` has stored in the head, "" if there is none."""
    return (head.header(b"x-final-url") or b"").decode("ascii", "replace")


def client_response(
    head: ResponseHead, asked: AllowedCall, rules: FetchRules, *, method: bytes, cache: str = ""
) -> tuple[ResponseHead, list[tuple[bytes, bytes]]]:
    """Return the client's head for ``head`` of :func:`target_response`, and the fields of the
    policy, which the gate adds after all filters.

    ``cache``: for X-Cache-Status, "" without a cache.
    """
    fields = response_fields(
        head.pairs(),
        origin=asked.origin,
        final_url=final_url(head).encode("ascii"),
        cache_status=cache.upper().encode("ascii"),
        credentials=asked.credentials,
        changes=asked.call.res_headers,
        allowed=rules.res_headers,
    )
    policy = [pair for pair in fields if is_policy_field(pair[0])]
    rest = [pair for pair in fields if not is_policy_field(pair[0])]
    length = head.header(b"content-length")
    if head.length == 0 and length is not None and method == b"HEAD":
        rest.append((b"Content-Length", length))
    made = ResponseHead(
        head.status, rest, head.reason, head.version, head.length, upgrade=head.upgrade
    )
    return made, policy


def sharing_name(frontend: str, asked: AllowedCall, rules: FetchRules) -> str:
    """Return the sharing scope of responses to a call, in the form of a backend name, which is part
    of the key of a cache.
    """
    shared_by = ["corsproxy", frontend]
    if asked.exit_name:
        shared_by.append(f"exit:{asked.exit_name}")
    if rules.by_key and asked.record is not None:
        shared_by.append(asked.record.sha256)
    if asked.call.req_headers:
        shared_by.append(repr(asked.call.req_headers))
    return " ".join(shared_by)


def cached_request(head: RequestHead, asked: AllowedCall, rules: FetchRules) -> RequestHead:
    """Return the head of a call as the cache sees it: a request for the target."""
    request = target_request(
        head, asked, rules, asked.target, method=head.method, body=True, same_origin=True
    )
    request.headers = lookup_fields(request.pairs(), asked.ttl)
    return request


def cache_traffic(
    traffic: HTTPTraffic, head: RequestHead, asked: AllowedCall, rules: FetchRules
) -> HTTPTraffic:
    """Return the traffic of a call as the cache sees it."""
    request = cached_request(head, asked, rules)
    seen = HTTPTraffic(traffic.frontend, traffic.info, request, traffic.started, traffic.t_header)
    seen.client_ip, seen.client_port = traffic.client_ip, traffic.client_port
    seen.scheme = asked.target.scheme
    seen.backend_name = sharing_name(traffic.frontend_name, asked, rules)
    seen.policy, seen.route, seen.hooks = traffic.policy, traffic.route, traffic.hooks
    seen.vars = traffic.vars
    seen.request_ended = traffic.request_ended
    return seen
