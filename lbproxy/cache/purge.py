"""PURE. The target of a purge: one URL, a prefix, a host, a tag, a cache group, or everything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, Protocol, get_args

from attrs import evolve, field, frozen

from lbproxy.cache.catalog import Catalog, EntryT, KeyT, origin_of, path_group
from lbproxy.cache.key import public_host
from lbproxy.cache.policy import Policy

__all__ = ["KINDS", "Named", "Purge", "PurgeKind", "in_other_scheme"]

PurgeKind = Literal["url", "prefix", "host", "tag", "group", "all"]

KINDS: tuple[PurgeKind, ...] = get_args(PurgeKind)


class Named(Protocol):
    """The properties of a response that a purge reads."""

    @property
    def url(self) -> bytes: ...
    @property
    def tags(self) -> frozenset[bytes]: ...
    @property
    def groups(self) -> frozenset[bytes]: ...


@frozen
class Purge:
    """A purge. ``value``: a URL, the beginning of one, a host with its port, a tag, or the origin
    and the name of a group separated by a blank; empty for ``all``. A URL includes all its
    variants, and the responses of its path that No-Vary-Search may select for it.
    """

    kind: PurgeKind
    value: bytes = field(default=b"")

    def may_name(self, url: bytes) -> bool:
        """Return whether a response of ``url`` with unknown other properties may be affected."""
        if self.kind == "url":
            return url.partition(b"?")[0] == self.value.partition(b"?")[0]
        if self.kind == "prefix":
            return url.startswith(self.value)
        if self.kind == "host":
            scheme = url.partition(b"://")[0]
            return host_of(url) == public_host(scheme, self.value.lower())
        if self.kind == "group":
            return origin_of(url) == self.value.partition(b" ")[0]
        return True

    def names(self, stored: Named) -> bool:
        """Return whether ``stored`` is affected."""
        if self.kind == "url":
            searched = path_group(self.value) in stored.groups and self.may_name(stored.url)
            return stored.url == self.value or searched
        if self.kind == "tag":
            return self.value in stored.tags
        if self.kind == "group":
            return self.may_name(stored.url) and self.value.partition(b" ")[2] in stored.groups
        return self.may_name(stored.url)

    def candidates(self, catalog: Catalog[KeyT, EntryT]) -> Iterable[EntryT]:
        """Return entries that include all affected ones. A purge by URL, tag or group examines only
        these.
        """
        if self.kind == "url":
            return catalog.of_url(self.value)
        if self.kind == "tag":
            return catalog.by_tag(self.value)
        if self.kind == "group":
            origin, _, group = self.value.partition(b" ")
            return catalog.by_group(origin, group)
        return catalog.walk()


def host_of(url: bytes) -> bytes:
    """Return the host of a URL, with its port, in lower case."""
    return url.split(b"/", 3)[2].lower() if url.count(b"/") > 1 else b""


_OTHER_SCHEME: Final = {b"http": b"https", b"https": b"http"}


def in_other_scheme(wanted: Purge, policy: Policy) -> Purge | None:
    """Return the same purge for the other scheme if ``key`` does not contain the scheme, because
    one response then represents both. None otherwise.
    """
    key, value = policy.key, wanted.value
    if not key or any(one.name == "scheme" for one in key):
        return None
    scheme, mark, rest = value.partition(b"://")
    other = _OTHER_SCHEME.get(scheme)
    if not mark or other is None or wanted.kind not in ("url", "prefix", "group"):
        return None
    return evolve(wanted, value=other + mark + rest)
