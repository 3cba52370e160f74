"""PURE. The key of a stored response: everything that can change it and is not in Vary."""

from __future__ import annotations

from lbproxy.cache.policy import Policy
from lbproxy.http.message import Headers, RequestHead

__all__ = ["Key", "key_of", "normal_url", "sent_headers", "sent_target", "url_of"]

Key = tuple[bytes, ...]
"""Values in a fixed order; it is compared as a tuple, so no value can run into the next one."""


def key_of(head: RequestHead, policy: Policy, scheme: bytes, backend: bytes) -> Key:
    """Return the key of a GET or HEAD request.

    It has the target as the client sent it, and also the one that filters made of it, if they did.
    ``backend``: so that two backends under one URL do not mix.
    """
    asked = client_target(head)
    changed = (b"sent", sent_target(head, policy)) if asked != head.target else ()
    target = normal_target(asked, policy)
    return (backend, scheme, head.host, target, *changed, *_cookies(head, policy))


def client_target(head: RequestHead) -> bytes:
    """Return the target as the client sent it."""
    return head.target if head.checked is None else head.checked


def sent_target(head: RequestHead, policy: Policy) -> bytes:
    """Return the target that a request has which may fill the cache: without the parameters that do
    not matter, as the response must not depend on them.
    """
    return normal_target(head.target, policy)


def normal_target(target: bytes, policy: Policy) -> bytes:
    """Return ``target`` with the parts of its query that matter."""
    path, mark, query = target.partition(b"?")
    if not query or policy.query.trivial:
        return target
    kept = policy.query.apply(query)
    return path + mark + kept if kept else path


def sent_headers(headers: Headers, policy: Policy) -> Headers:
    """Return ``headers`` without the cookies that do not matter."""
    if not policy.cookies.ignore:
        return headers
    out: Headers = []
    for name, value in headers:
        if name.lower() != b"cookie":
            out.append((name, value))
            continue
        kept = [part for part in value.split(b";") if not policy.cookies.ignores(_name(part))]
        if kept:
            out.append((name, b";".join(kept).strip()))
    return out


def _name(cookie: bytes) -> str:
    return cookie.partition(b"=")[0].strip().decode("latin-1")


def _cookies(head: RequestHead, policy: Policy) -> tuple[bytes, ...]:
    """The cookies of the key, sorted; nothing if the policy has none."""
    if not policy.cookies.key:
        return ()
    found = []
    for value in head.header_values(b"cookie"):
        for part in value.split(b";"):
            if policy.cookies.in_key(_name(part)):
                found.append(part.strip())
    return tuple(sorted(found))


def url_of(head: RequestHead, policy: Policy, scheme: bytes) -> bytes:
    """Return the public URL of a request, with the parts of its query that matter."""
    return scheme + b"://" + head.host + normal_target(client_target(head), policy)


def normal_url(url: bytes, policy: Policy) -> bytes:
    """Return ``url`` in the form of :func:`url_of`."""
    return normal_target(url, policy)
