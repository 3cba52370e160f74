"""PURE. No-Vary-Search: the parts of a query on which a response does not depend.

draft-ietf-httpbis-no-vary-search. A response with the field may answer requests for all URLs of its
path whose queries differ only in the named parts. lbproxy stores it under a key that contains only
the rest of the query, and learns these parts by path; see :class:`SearchRules`.

An invalid field counts as absent, so that a response then answers only its own URL.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from attrs import frozen

from lbproxy.cache.key import Key
from lbproxy.cache.policy import Policy
from lbproxy.cache.targeted import Fields

__all__ = [
    "SearchRule",
    "SearchRules",
    "applies",
    "is_reduced",
    "reduced",
    "same_search",
    "search_rule",
]

MOST_PATHS: Final = 10_000
"""Maximum number of paths whose rules are stored."""

MOST_RULES: Final = 2
"""Number of rules stored for one path: the present one and the previous one."""

LONGEST: Final = 1024
"""Maximum length of an obeyed field in bytes."""

MOST_PARAMETERS: Final = 200
"""Maximum number of parameters to which a rule applies. A longer query is compared unchanged."""


@frozen
class SearchRule:
    """The ignored parts of a query.

    ``ordered``: the order of parameters matters. ``names``: the ignored parameters, or with
    ``others`` the only ones that matter.
    """

    ordered: bool = True
    names: frozenset[bytes] = frozenset()
    others: bool = False

    def reduce(self, query: bytes) -> tuple[bytes, ...] | None:
        """Return the names and values that matter, decoded; None if there are too many."""
        parts = [part for part in query.split(b"&") if part]
        if len(parts) > MOST_PARAMETERS:
            return None
        pairs = [_decoded(part) for part in parts]
        kept = [pair for pair in pairs if (pair[0] in self.names) is self.others]
        if not self.ordered:
            kept.sort(key=_first)  # parameters of one name keep their order
        return tuple(text for pair in kept for text in pair)


def _decoded(part: bytes) -> tuple[bytes, bytes]:
    """Return name and value of a parameter (WHATWG URL, application/x-www-form-urlencoded)."""
    name, _, value = part.partition(b"=")
    return _text(name), _text(value)


def _text(encoded: bytes) -> bytes:
    return unquote_to_bytes(encoded.replace(b"+", b" "))


def _first(pair: tuple[bytes, bytes]) -> bytes:
    return pair[0]


def search_rule(head: Fields) -> SearchRule | None:
    """Return the rule of a response; None if every part of the query matters."""
    values = head.header_values(b"no-vary-search")
    if not values:
        return None
    text = b", ".join(values)
    rule = _parsed(text) if len(text) <= LONGEST else None
    return None if rule == _EVERYTHING else rule


_EVERYTHING: Final = SearchRule()


def _parsed(text: bytes) -> SearchRule | None:
    import http_sf

    try:
        found: Any = http_sf.parse(text, tltype="dictionary")
    except (ValueError, http_sf.StructuredFieldError):
        return None
    if not isinstance(found, dict):
        return None
    values = {name: member[0] for name, member in found.items()}
    order = values.get("key-order", False)
    params = values.get("params", False)
    if not isinstance(order, bool):
        return None
    if isinstance(params, list):
        names = _strings(params)
        return None if names is None or "except" in values else SearchRule(not order, names)
    if not isinstance(params, bool) or ("except" in values and not params):
        return None
    if not params:
        return SearchRule(not order)
    names = _strings(values.get("except", []))
    return None if names is None else SearchRule(not order, names, others=True)


def _strings(members: Any) -> frozenset[bytes] | None:
    """Return the decoded strings of an inner list; None if it is not one, or has other members."""
    if not isinstance(members, list):
        return None
    texts = [one[0] for one in members]
    if any(type(text) is not str for text in texts):
        return None
    return frozenset(_text(text.encode("latin-1")) for text in texts)


class SearchRules:
    """The latest rules of responses by path, the latest first.

    A key is that of :func:`~lbproxy.cache.key.key_of`. ``rules``: those of each path.
    """

    def __init__(self) -> None:
        self.rules: OrderedDict[int, tuple[SearchRule, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.rules)

    def learn(self, key: Key, rule: SearchRule) -> None:
        """Store the ``rule`` of a response of ``key``."""
        path = _path(key)
        known = self.rules.pop(path, ())
        others = tuple(one for one in known if one != rule)
        self.rules[path] = (rule, *others)[:MOST_RULES]
        if len(self.rules) > MOST_PATHS:
            self.rules.popitem(last=False)

    def concern(self, key: Key) -> bool:
        """Return whether a response of the path of ``key`` has stated a rule."""
        return _path(key) in self.rules

    def keys(self, key: Key) -> list[tuple[Key, SearchRule]]:
        """Return the keys under which rules may have stored responses for ``key``."""
        known = self.rules.get(_path(key), ())
        found = ((reduced(key, rule), rule) for rule in known)
        return [(one, rule) for one, rule in found if one is not None]


TARGET: Final = 3
"""The place of the target in a key."""


def reduced(key: Key, rule: SearchRule) -> Key | None:
    """Return the key shared by all requests that are equal to that of ``key`` under ``rule``."""
    path, _, query = key[TARGET].partition(b"?")
    kept = rule.reduce(query)
    if kept is None:
        return None
    # no request has this target, because a target begins with a slash or is a word
    return (*key[:TARGET], b"?" + path, _counted(kept), *key[TARGET + 1 :])


def is_reduced(key: Key) -> bool:
    """Return whether a key may come from :func:`reduced`, where URLs of several rules may
    collide.
    """
    return key[TARGET : TARGET + 1] != () and key[TARGET].startswith(b"?")


def same_search(rule: SearchRule | None, first: bytes, second: bytes) -> bool:
    """Return whether two URLs of one path are equal under ``rule``."""
    if rule is None:
        return False
    one = rule.reduce(first.partition(b"?")[2])
    return one is not None and one == rule.reduce(second.partition(b"?")[2])


def applies(key: Key, policy: Policy) -> bool:
    """Return whether a rule may replace the query of ``key``. It may not for a policy with its own
    ``key``, a request that a filter has changed, or a POST.
    """
    return policy.search and not policy.key and key[TARGET + 1 : TARGET + 2] not in _OTHERS


_OTHERS: Final = ((b"sent",), (b"post",))


def _counted(parts: tuple[bytes, ...]) -> bytes:
    """Return ``parts`` encoded as one unambiguous value."""
    return b"".join(b"%d:%b" % (len(one), one) for one in parts)


def _path(key: Key) -> int:
    """Return a number for a key without its query."""
    return hash((*key[:TARGET], key[TARGET].partition(b"?")[0], *key[TARGET + 1 :]))
