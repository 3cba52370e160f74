"""PURE. Finds conditions of one line that exclude each other, so that the line never matches.

All conditions of a line must hold. ``path /a/* path /b/*`` is therefore a mistake for ``path /a/*
/b/*``, and :mod:`lbproxy.config.conditions` reports it. Undecidable combinations (two regular
expressions, lists of addresses) count as possible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import combinations
from typing import Any

from attrs import frozen

from lbproxy.http.circumstances import week_minutes
from lbproxy.http.condition import name_key, path_key
from lbproxy.http.pattern import Matcher, text_matcher
from lbproxy.model import Condition

__all__ = ["excluded"]


@frozen
class _Texts:
    """The values that one pattern matches.

    ``exact``: the only value. Otherwise all values begin with ``start`` and end with ``end``; if
    ``complete``, every such text matches.
    """

    exact: bytes | None = None
    start: bytes = b""
    end: bytes = b""
    complete: bool = True
    match: Matcher | None = None
    written: str = ""

    def matches(self, text: bytes) -> bool:
        """Return whether ``text`` is one of the values."""
        if self.exact is not None:
            return text == self.exact
        if self.match is not None:
            return self.match(text)
        return text.startswith(self.start) and text.endswith(self.end)

    def excludes(self, other: _Texts) -> bool:
        """Return whether no text matches both."""
        if self.exact is not None:
            return not other.matches(self.exact)
        if other.exact is not None:
            return not self.matches(other.exact)
        starts, ends = (self.start, other.start), (self.end, other.end)
        return not (
            (starts[0].startswith(starts[1]) or starts[1].startswith(starts[0]))
            and (ends[0].endswith(ends[1]) or ends[1].endswith(ends[0]))
        )

    def covers(self, other: _Texts) -> bool:
        """Return whether this matches everything that ``other`` matches."""
        if other.exact is not None:
            return self.matches(other.exact)
        if not self.complete:
            return self.written != "" and self.written == other.written
        if self.exact is not None:
            return False
        return other.start.startswith(self.start) and other.end.endswith(self.end)


@frozen
class _Members:
    """A set of values, such as the minutes of a week."""

    values: frozenset[Any]

    def excludes(self, other: _Members) -> bool:
        """Return whether the sets have no common member."""
        return self.values.isdisjoint(other.values)

    def covers(self, other: _Members) -> bool:
        """Return whether this has all members of ``other``."""
        return self.values >= other.values


@frozen
class _Network:
    """A network of addresses."""

    network: Any

    def excludes(self, other: _Network) -> bool:
        """Return whether no address is in both."""
        same = self.network.version == other.network.version
        return not (same and self.network.overlaps(other.network))

    def covers(self, other: _Network) -> bool:
        """Return whether ``other`` is within this."""
        if self.network.version != other.network.version:
            return False
        found: bool = other.network.subnet_of(self.network)
        return found


_Values = _Texts | _Members | _Network
_ANYTHING = _Texts()


def _exact(args: Sequence[str]) -> list[_Values]:
    return [_Texts(arg.encode("utf-8")) for arg in args]


def _glob(raw: bytes, pattern: str, match: Matcher) -> _Texts:
    wild = [at for at, byte in enumerate(raw) if byte in b"*?"]
    return _Texts(None, raw[: wild[0]], raw[wild[-1] + 1 :], False, match, pattern)


def _names(args: Sequence[str]) -> list[_Values]:
    found: list[_Values] = []
    for pattern in args:
        kind, raw = name_key(pattern)
        if kind == "regex":
            found.append(_Texts(complete=False, match=text_matcher(pattern), written=pattern))
        else:
            found.append(_Texts(raw) if kind == "exact" else _Texts(end=raw))
    return found


def _paths(args: Sequence[str]) -> list[_Values]:
    found: list[_Values] = []
    for pattern in args:
        kind, raw = path_key(pattern)
        if kind == "exact":
            found.append(_Texts(raw))
        elif kind == "prefix":
            found.append(_Texts(start=raw))
        elif kind == "regex":
            found.append(_Texts(complete=False, match=text_matcher(pattern), written=pattern))
        else:
            found.append(_glob(raw, pattern, text_matcher(pattern, raw)))
    return found


def _values(args: Sequence[str]) -> list[_Values]:
    """Return the patterns after the name of a header, a cookie or a parameter."""
    if not args[1:]:
        return [_ANYTHING]
    found: list[_Values] = []
    for pattern in args[1:]:
        raw = pattern.encode("utf-8")
        if pattern.startswith("~"):
            found.append(_Texts(complete=False, match=text_matcher(pattern), written=pattern))
        elif b"?" in raw or b"*" in raw[:-1]:
            found.append(_glob(raw, pattern, text_matcher(pattern)))
        else:
            found.append(_Texts(start=raw[:-1]) if raw.endswith(b"*") else _Texts(raw))
    return found


_MAPPED = IPv6Network("::ffff:0:0/96")


def _networks(args: Sequence[str]) -> list[_Values]:
    """Return the networks; none if the condition also has lists, countries or autonomous
    systems.
    """
    try:
        return [_Network(_plain(ip_network(arg))) for arg in args]
    except ValueError:
        return []


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network of IPv4-mapped addresses as IPv4, as address lists do."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        first = int(network.network_address) & 0xFFFFFFFF
        return IPv4Network((first, network.prefixlen - 96))
    return network


def _statuses(args: Sequence[str]) -> list[_Values]:
    raws = [arg.encode("ascii") for arg in args]
    return [_Texts(start=raw[:1]) if raw.endswith(b"xx") else _Texts(raw) for raw in raws]


_READ: dict[str, Callable[[Sequence[str]], list[_Values]]] = {
    "host": _names,
    "sni": _names,
    "path": _paths,
    "method": _exact,
    "scheme": _exact,
    "alpn": _exact,
    "port": lambda args: _exact([str(int(arg)) for arg in args]),
    "client": _networks,
    "status": _statuses,
    "time": lambda args: [_Members(week_minutes(args))],
    "header": _values,
    "cookie": _values,
    "query": _values,
}
"""The alternatives of each verb. A verb that cannot be decided has no alternatives or is absent."""

_SEVERAL = frozenset({"alpn", "header"})
"""Properties that a request may have several times, so that two different ones do not exclude each
other.
"""


def excluded(conditions: Sequence[Condition]) -> tuple[Condition, Condition] | None:
    """Return the first two conditions of a line that cannot both hold, or None.

    The conditions must be valid (:func:`lbproxy.http.condition.check_condition`).
    """
    for one, two in combinations(conditions, 2):
        if _subject(one) == _subject(two) and one[2] + two[2] < 2 and _exclude(one, two):
            return one, two
    return None


def _subject(condition: Condition) -> tuple[str, str]:
    """Return the property of the traffic that a condition tests."""
    verb, args, _ = condition
    if verb == "header":
        return verb, args[0].lower()
    return verb, args[0] if verb in ("cookie", "query") else ""


def _exclude(one: Condition, two: Condition) -> bool:
    verb = one[0]
    read = _READ.get(verb)
    if read is None:
        return False
    if one[2]:
        one, two = two, one
    held, other = read(one[1]), read(two[1])
    if not held or not other:
        return False
    if two[2]:  # the negated one excludes everything that the other allows
        return all(any(_covers(whole, part) for whole in other) for part in held)
    if verb in _SEVERAL:
        return False
    return all(_excludes(a, b) for a in held for b in other)


def _covers(whole: Any, part: Any) -> bool:
    return bool(whole.covers(part))


def _excludes(a: Any, b: Any) -> bool:
    return bool(a.excludes(b))
