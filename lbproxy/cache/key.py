"""PURE. The key of a stored response: everything that can change it and is not in Vary."""

from __future__ import annotations

from lbproxy.cache.policy import Policy
from lbproxy.http.message import RequestHead

__all__ = ["Key", "key_of", "url_of"]

Key = tuple[bytes, ...]
"""Values in a fixed order; it is compared as a tuple, so no value can run into the next one."""


def key_of(head: RequestHead, policy: Policy, where: tuple[bytes, ...]) -> Key:
    """Return the key of a GET or HEAD request, as the client sent it.

    ``where``: the mode of the frontend and the name of the backend, so that two backends under one
    URL do not mix.
    """
    path, mark, query = head.target.partition(b"?")
    cookies = _cookies(head, policy)
    kept = policy.query.apply(query)
    return (
        *where,
        head.scheme,
        head.host,
        path,
        mark if kept or not query else b"",
        kept,
        *cookies,
    )


def _cookies(head: RequestHead, policy: Policy) -> tuple[bytes, ...]:
    """The cookies of the key, sorted; nothing if the policy has none."""
    if not policy.cookies.key:
        return ()
    found = []
    for value in head.header_values(b"cookie"):
        for part in value.split(b";"):
            name = part.partition(b"=")[0].strip()
            if policy.cookies.in_key(name.decode("latin-1")):
                found.append(part.strip())
    return tuple(sorted(found))


def url_of(head: RequestHead) -> bytes:
    """Return the public URL of a request."""
    return head.scheme + b"://" + head.host + head.target
