"""PURE. The key of a stored response: everything that can change it and is not in Vary."""

from __future__ import annotations

from hashlib import blake2b
from ipaddress import IPv6Address
from typing import Final

from lbproxy.cache.policy import KeyPart, Policy
from lbproxy.cache.targeted import Fields
from lbproxy.http.message import Headers, RequestHead

__all__ = [
    "Key",
    "key_of",
    "normal_prefix",
    "normal_url",
    "public_host",
    "sent_fields",
    "sent_headers",
    "sent_target",
    "url_of",
]

Key = tuple[bytes, ...]
"""Values in a fixed order, compared as a tuple, so that two values cannot be confused."""


def key_of(
    head: RequestHead, policy: Policy, scheme: bytes, backend: bytes, body: bytes = b""
) -> Key:
    """Return the key of a GET or HEAD request, or of a POST with ``body``.

    It contains the client's target, and also the one that filters have changed it to, if any.
    ``backend``: separates two backends under one URL.
    """
    asked = client_target(head)
    changed: Key = (b"sent", sent_target(head, policy)) if asked != head.target else ()
    if head.method == b"POST":
        changed += (b"post", *(_given(head, name) for name in _OF_BODY), _digest(body))
    target = normal_target(asked, policy)
    if policy.key:
        parts = [one for one in policy.key if one.name != "cookie"]
        # with its name, so that a reload does not confuse the values of two variables
        own = [b"%b=%b" % (one.text.encode(), _part(one, head, scheme, target)) for one in parts]
        return (backend, *own, *changed, *_cookies(head, policy))
    return (backend, scheme, head.host, target, *changed, *_cookies(head, policy))


_OF_BODY: Final = (b"content-type", b"content-encoding", b"content-language", b"content-location")
"""Fields of a POST that define the meaning of its body."""


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=32).digest()


def _given(head: RequestHead, name: bytes) -> bytes:
    """Return the values of a field. An absent field differs from an empty one."""
    values = head.header_values(name)
    return b"+" + b", ".join(values) if values else b"-"


def _part(part: KeyPart, head: RequestHead, scheme: bytes, target: bytes) -> bytes:
    """Return the value of a variable of ``key``.  An absent value differs from an empty one."""
    path, mark, query = target.partition(b"?")
    if part.name == "header":
        return _given(head, part.argument.encode("latin-1"))
    if part.name == "query" and part.argument:
        found = [one for one in query.split(b"&") if _name(one) == part.argument]
        return b"+" + b"&".join(found) if found else b"-"
    known = {
        "scheme": scheme,
        "host": head.host,
        "hostname": head.hostname,
        "path": path,
        "query": mark + query,
        "uri": target,
    }
    return known[part.name]


def client_target(head: RequestHead) -> bytes:
    """Return the target as the client sent it, in origin form."""
    asked = head.target if head.checked is None else head.checked
    if asked[:1] == b"/" or b"://" not in asked:
        return asked
    return _target_of(asked.partition(b"://")[2])[1] or b"/"


def _target_of(rest: bytes) -> tuple[bytes, bytes]:
    """Split the text after ``scheme://`` into host and target; the target may be empty."""
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    target = rest[cut:]
    return rest[:cut], b"/" + target if target[:1] == b"?" else target


def sent_target(head: RequestHead, policy: Policy) -> bytes:
    """Return the target for a request that may fill the cache, without ignored parameters, because
    the response must not depend on them.
    """
    return normal_target(head.target, policy)


def normal_target(target: bytes, policy: Policy) -> bytes:
    """Return ``target`` with the parts of its query that matter."""
    path, mark, query = target.partition(b"?")
    if not query:
        return target
    named = policy.parameters
    if policy.query.trivial and named is None:
        return target
    kept = policy.query.apply(query)
    if named is not None:
        known = [one for one in kept.split(b"&") if _name(one) in named]
        known.sort(key=_name)  # the key contains their values, but not their order
        kept = b"&".join(known)
    return path + mark + kept if kept else path


def sent_headers(headers: Headers, policy: Policy) -> Headers:
    """Return ``headers`` without ignored cookies."""
    if not policy.cookies.ignore:
        return headers
    out: Headers = []
    for name, value in headers:
        if name.lower() != b"cookie":
            out.append((name, value))
            continue
        kept = _kept_cookies(value, policy)
        if kept is not None:
            out.append((name, kept))
    return out


def _kept_cookies(value: bytes, policy: Policy) -> bytes | None:
    """Return a Cookie field without ignored cookies, None if none are left."""
    kept = [part for part in value.split(b";") if not policy.cookies.ignores(_name(part))]
    return b";".join(kept).strip() if kept else None


def sent_fields(head: RequestHead, policy: Policy) -> Fields:
    """Return the fields of a request that may fill the cache as a server gets them. A response
    whose Vary contains Cookie does not depend on cookies that are not sent.
    """
    return _SentFields(head, policy) if policy.cookies.ignore else head


class _SentFields:
    """The fields as sent; see :func:`sent_fields`."""

    def __init__(self, head: RequestHead, policy: Policy) -> None:
        self._head = head
        self._policy = policy

    def header_values(self, name: bytes) -> list[bytes]:
        """Return all values of ``name`` (lower case) in order."""
        values = self._head.header_values(name)
        if name != b"cookie":
            return values
        kept = [_kept_cookies(value, self._policy) for value in values]
        return [value for value in kept if value is not None]


def _name(cookie: bytes) -> str:
    return cookie.partition(b"=")[0].strip().decode("latin-1")


def _cookies(head: RequestHead, policy: Policy) -> tuple[bytes, ...]:
    """Return the cookies of the key, sorted; nothing if the policy has none."""
    if not policy.cookies.key:
        return ()
    found = []
    for value in head.header_values(b"cookie"):
        for part in value.split(b";"):
            if policy.cookies.in_key(_name(part)):
                found.append(part.strip())
    return tuple(sorted(found, key=_name))  # cookies of one name keep their order


def url_of(head: RequestHead, policy: Policy, scheme: bytes) -> bytes:
    """Return the public URL of a request, with the parts of its query that matter."""
    target = normal_target(client_target(head), policy)
    return scheme + b"://" + public_host(scheme, head.host) + target


def public_host(scheme: bytes, host: bytes) -> bytes:
    """Return ``host``, which is in lower case, in the one form that a public URL has of it.

    It has no default port of ``scheme``, no leading zeros in the port, no trailing dot (which only
    says that the name is complete), and an IPv6 address in the form of RFC 5952.
    """
    if host[-1:] in _ENDS_PLAIN and b":" not in host:
        return host
    name, mark, port = host, b"", b""
    if not host.endswith(b"]"):
        name, mark, port = host.rpartition(b":") if b":" in host else (host, b"", b"")
        port = port.lstrip(b"0") or port[:1]
    if port in (b"", _DEFAULT_PORTS.get(scheme)):
        mark = port = b""
    if name.startswith(b"["):
        return _bracketed(name) + mark + port
    return (name[:-1] if name.endswith(b".") else name) + mark + port


def _bracketed(name: bytes) -> bytes:
    """Return an IPv6 address in brackets in its short form, anything else unchanged.

    The last four bytes of an IPv4-mapped address are in dotted decimal (RFC 5952 §5), as Python
    writes them from 3.13 on: files of a cache may be read by another version.
    """
    try:
        address = IPv6Address(name[1:-1].decode("latin-1"))
    except ValueError:
        return name
    mapped = address.ipv4_mapped if address.scope_id is None else None
    return b"[%b]" % (str(address) if mapped is None else f"::ffff:{mapped}").encode()


_ENDS_PLAIN: Final = frozenset(bytes((one,)) for one in b"abcdefghijklmnopqrstuvwxyz0123456789")
_DEFAULT_PORTS: Final = {b"http": b"80", b"https": b"443"}


def normal_url(url: bytes, policy: Policy) -> bytes:
    """Return ``url`` in the form of :func:`url_of`."""
    return normal_target(normal_prefix(url.partition(b"#")[0], b"/"), policy)


def normal_prefix(url: bytes, path: bytes = b"") -> bytes:
    """Return the beginning of a URL with scheme and host in the form of :func:`url_of`.

    ``path``: the replacement for an absent path.
    """
    scheme, mark, rest = url.partition(b"://")
    if not mark:
        return url
    host, target = _target_of(rest)
    host, scheme, target = host.lower(), scheme.lower(), target or path
    if target or host.endswith(b"]"):  # else the host may be incomplete
        host = public_host(scheme, host)
    return scheme + mark + host + target
