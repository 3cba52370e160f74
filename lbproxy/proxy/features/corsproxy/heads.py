"""DATA. Heads of a CORS proxy: of the request for a target, and of the response for the client."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from lbproxy.cors.fields import request_fields, response_fields
from lbproxy.cors.redirects import passed_location
from lbproxy.guard import AllowedTarget
from lbproxy.http.message import RequestHead, ResponseHead
from lbproxy.proxy.features.corsproxy.gate import AllowedCall

__all__ = ["FetchRules", "client_response", "target_request"]


@frozen
class FetchRules:
    """Keys of the frontend that fetches depend on; see the reference."""

    follow: bool
    own: frozenset[bytes]
    req_headers: frozenset[str]
    res_headers: frozenset[str]
    max_response: int
    timeout_total: float
    redirect_buffer: int

    @classmethod
    def of(cls, spec: Any) -> FetchRules:
        """Return the rules of a frontend."""
        # without keys, a header of that name is one of the target's API
        own = (spec.target_header, spec.key_header) if spec.keys else (spec.target_header,)
        return cls(
            follow=spec.redirects == "follow",
            own=frozenset(name.lower().encode("ascii") for name in own),
            req_headers=frozenset(name.lower() for name in spec.req_headers),
            res_headers=frozenset(name.lower() for name in spec.res_headers),
            max_response=spec.max_response,
            timeout_total=spec.timeout_total,
            redirect_buffer=spec.redirect_buffer,
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
    """Return the head that ``target`` gets for the client's ``head``.

    ``body``: whether the body is sent; ``same_origin``: no redirect has left the first origin.
    ``via``: the way of the request, so that calls of the proxy to itself end.
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
    )
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


def client_response(
    head: ResponseHead,
    asked: AllowedCall,
    rules: FetchRules,
    target: AllowedTarget,
    *,
    method: bytes,
    moved: AllowedTarget | None,
) -> ResponseHead:
    """Return the head that the client gets for the final ``head`` of ``target``.

    ``moved``: target of a redirect that is passed on, else None.
    """
    pairs = [pair for pair in head.pairs() if pair[0].lower() != b"location"]
    if moved is not None:
        pairs.append((b"Location", passed_location(moved.url)))
    fields = response_fields(
        pairs,
        origin=asked.origin,
        final_url=target.url.encode("ascii"),
        nominated=head.nominated,
        changes=asked.call.res_headers,
        allowed=rules.res_headers,
    )
    length = head.header(b"content-length")
    if head.length == 0 and length is not None and method == b"HEAD":
        fields.append((b"Content-Length", length))
    return ResponseHead(
        head.status, fields, head.reason, head.version, head.length, upgrade=head.upgrade
    )
